"""The tiny releases, shared with the other folder that uses them."""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.release.tiny_release import Tiny


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> "Tiny":
    """A search release and a relevance-only one from the same inputs."""
    from tests.release.tiny_release import tiny_releases

    return tiny_releases(tmp_path_factory)
