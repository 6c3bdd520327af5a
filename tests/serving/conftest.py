"""The tiny releases, shared with the other folder that uses them."""

import pytest

from tests.release.tiny_release import Tiny, tiny_releases


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """A search release and a relevance-only one from the same inputs."""
    return tiny_releases(tmp_path_factory)
