"""Fixtures every test may use."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("DO_NOT_TRACK", "1")


def pytest_addoption(parser):
    """`--update-golden` writes the golden files anew."""
    parser.addoption("--update-golden", action="store_true", help="write compiled pipelines as the new golden files")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data beside the checkout (ARCHIPELAGO_SHARED_DATA or ../shared/data); skips where there is none."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("ARCHIPELAGO_SHARED_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}")
    return folder


@pytest.fixture(scope="session")
def crds() -> Path:
    """CRDs beside the checkout (ARCHIPELAGO_CRDS or ../shared/crds); skips where there are none."""
    default = Path(__file__).resolve().parents[2] / "shared" / "crds"
    folder = Path(os.environ.get("ARCHIPELAGO_CRDS", default))
    if not folder.is_dir():
        pytest.skip(f"no CRDs at {folder}")
    return folder


# Reasons that stand even where every system part is installed.
_STANDING_SKIPS = ("no real data", "no GPU")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """With ARCHIPELAGO_FORBID_SKIPS=1 a skip is a failure: the machine was set up so that nothing need skip."""
    outcome = yield
    report = outcome.get_result()
    if os.environ.get("ARCHIPELAGO_FORBID_SKIPS") != "1" or not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if not any(standing in reason for standing in _STANDING_SKIPS):
        report.outcome = "failed"
        report.longrepr = f"skipped although skips are forbidden: {reason}"
