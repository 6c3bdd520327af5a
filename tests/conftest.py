"""Fixtures every test may use."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("DO_NOT_TRACK", "1")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data beside the checkout (ARCHIPELAGO_SHARED_DATA or ../shared/data); skips where there is none."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("ARCHIPELAGO_SHARED_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}")
    return folder
