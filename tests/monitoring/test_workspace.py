"""Evidently's UI over comparisons: served by the command on loopback, opened in a browser, without a row of data."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import numpy as np
import pandas as pd
import pytest

from components.contracts.errors import BadInput
from components.monitoring.drift import compare
from components.monitoring.workspace import HOST, add_runs
from serving.local.processes import free_ports
from tests.monitoring.drift_world import CONFIG
from tests.serving.page.chromium import chromium

_COMMAND = "from pipelines.cli.main import main; main()"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three comparisons, the price higher in each."""
    root = tmp_path_factory.mktemp("runs")
    for number in range(4):
        rng = np.random.default_rng(number)
        table = pd.DataFrame({"market": rng.choice(["TH", "VN"], 1200), "price": rng.normal(number / 4, 1, 1200)})
        table.assign(label=rng.integers(0, 2, 1200)).to_parquet(root / f"{number}.parquet")
    for number in range(1, 4):
        compare(root / "0.parquet", root / f"{number}.parquet", CONFIG, root / f"week-{number}")
    return root


def test_every_run_is_added_once_and_without_rows(runs: Path, tmp_path: Path) -> None:
    assert add_runs(runs, tmp_path / "workspace") == 3
    assert add_runs(runs, tmp_path / "workspace") == 0
    kept = [path for path in (tmp_path / "workspace").rglob("*") if path.is_file()]
    assert sum("snapshots" in path.parts for path in kept) == 3 * 3  # TH, VN, and both together
    assert {path.suffix for path in kept} == {".json"}, "no data set is kept"


def test_a_folder_without_a_comparison_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no drift\.json below it"):
        add_runs(tmp_path, tmp_path / "workspace")


@pytest.mark.slow
def test_the_ui_shows_trends_and_reports_in_a_browser(runs: Path, tmp_path: Path) -> None:
    port = free_ports(1)[0]
    asked = ["monitor", "--runs", str(runs), "--workspace", str(tmp_path / "w"), "--ui", "--port", str(port)]
    process = subprocess.Popen([sys.executable, "-c", _COMMAND, *asked], env=os.environ | {"DO_NOT_TRACK": "1"})
    try:
        address, said = f"http://{HOST}:{port}", "document.body.innerText"
        _wait_for(address, process)
        with chromium(tmp_path / "profile") as page:
            page.open(f"{address}/", width=1280)
            page.wait(f"{said}.includes('TH') && {said}.includes('all markets together')")
            project = page.evaluate("[...document.links].find(a => a.innerText.trim() === 'VN').href")
            page.open(str(project), width=1280)
            page.wait(
                f"{said}.includes('Labels, predictions and errors') && {said}.includes('Features that moved most')"
            )
            page.wait("document.querySelectorAll('svg circle').length >= 6")  # three comparisons in each panel
            page.open(f"{project}/reports", width=1280)
            page.wait(f"['week-1', 'week-2', 'week-3'].every(week => {said}.includes(week))")
            assert not page.complaints
            assert all(url.startswith((address, "data:", "blob:", "about:")) for url in page.requested)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)


def _wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, "the command ended"
        try:
            urlopen(address, timeout=5).close()
            return
        except URLError:
            time.sleep(0.3)
    raise AssertionError("no page in 120 s")
