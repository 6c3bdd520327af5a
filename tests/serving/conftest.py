"""The tiny releases, shared with the other folder that uses them, and one that is served."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.serving.real_triton import require_triton

if TYPE_CHECKING:
    from serving.local.launcher import Service
    from tests.release.tiny_release import Tiny


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> "Tiny":
    """A search release and a relevance-only one from the same inputs."""
    from tests.release.tiny_release import tiny_releases

    return tiny_releases(tmp_path_factory)


@pytest.fixture(scope="session")
def service(tiny: "Tiny", tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Service]":
    """The search release behind a real Triton and a real transformer; tests leave it as it was."""
    from serving.local.launcher import serve_release

    require_triton()
    with serve_release(tiny.search, tmp_path_factory.mktemp("state")) as running:
        yield running
