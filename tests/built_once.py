"""What is slow to make is made once for all workers of a test session."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from components.contracts.tools.lock import alone_in


def built_once(factory: pytest.TempPathFactory, name: str, build: Callable[[Path], None]) -> Path:
    """The folder that `build` filled; the first worker to come fills it, another one waits. Tests only read it."""
    base = factory.getbasetemp()
    # The workers' folders lie beside each other.
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    done, held = folder.with_suffix(".done"), folder.with_suffix(".lock")
    held.mkdir(exist_ok=True)
    with alone_in(held):
        if not done.is_file():
            folder.mkdir()
            build(folder)
            done.touch()
    return folder
