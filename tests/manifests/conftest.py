"""Rendered manifests and the schemas to hold them against."""

from pathlib import Path
from typing import Any

import pytest

from tests.manifests.rendering import RENDERINGS, render
from tests.manifests.schemas import Schemas


@pytest.fixture(scope="session")
def schemas(crds: Path) -> Schemas:
    """Schemas of Kubernetes and of the CRDs."""
    return Schemas(crds)


@pytest.fixture(scope="session", params=RENDERINGS)
def manifests(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    """Each rendering in turn: the base and every overlay."""
    return render(request.param)


@pytest.fixture(scope="session")
def base_manifests() -> list[dict[str, Any]]:
    """The base's manifests; tests that spoil them copy them first."""
    return render("base")
