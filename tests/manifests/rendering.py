"""What `kubectl kustomize` makes of the manifests."""

import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

MANIFESTS = Path(__file__).resolve().parents[2] / "manifests"
RENDERINGS = ["base", *sorted(f"overlays/{folder.name}" for folder in (MANIFESTS / "overlays").iterdir())]


def render(name: str) -> list[dict[str, Any]]:
    """The manifests that `kubectl kustomize` makes of `manifests/<name>`; skips where there is no kubectl."""
    if shutil.which("kubectl") is None:
        pytest.skip("no kubectl to render manifests with")
    return list(yaml.load_all(_rendered(name), yaml.CSafeLoader))


@cache
def _rendered(name: str) -> str:
    command = ["kubectl", "kustomize", MANIFESTS / name]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
