"""Fixtures every test may use."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
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


@pytest.fixture
def redis_address(tmp_path: Path) -> Iterator[str]:
    """Of a Redis of its own."""
    if shutil.which("redis-server") is None:
        pytest.skip("no redis-server on PATH")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        server.terminate()
        server.wait(timeout=10)


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
