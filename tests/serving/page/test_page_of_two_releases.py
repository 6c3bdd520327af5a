"""The page of two releases behind one address: a column for each, whoever serves the user."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from serving.release import open_release
from tests.release.tiny_release import Tiny
from tests.serving.faults.faulty import addresses, reseal
from tests.serving.page.chromium import chromium
from tests.serving.real_triton import require_triton

pytestmark = pytest.mark.slow
_ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("percent", ["0", "100"])
def test_each_release_has_its_column(tiny: Tiny, tmp_path: Path, percent: str) -> None:
    require_triton()
    other = shutil.copytree(tiny.search, tmp_path / "release")
    (other / "MODEL_CARD.md").write_text("another one")
    reseal(other)
    command = [sys.executable, "-c", "from pipelines.cli.main import main; main()", "serve", str(tiny.search)]
    command += ["--canary", str(other), "--canary-percent", percent, "--port", "0", "--state", str(tmp_path / "state")]
    env = os.environ | {"PYTHONPATH": str(_ROOT), "ARCHIPELAGO_CACHE": str(tmp_path / "cache")}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as server:
        try:
            said = addresses(server)
            with chromium(tmp_path / "profile") as page:
                page.open(said["page"], 1280)
                page.wait("document.getElementById('status').textContent.includes('is searched, too')")
                page.evaluate(
                    "document.getElementById('query').value = document.querySelector('#queries option').value"
                )
                page.evaluate("document.querySelector('#search button').click()")
                page.wait("document.querySelectorAll('.card').length > 1")
                columns = page.evaluate("[...document.querySelectorAll('h2')].map(h => h.textContent.split(' ')[1])")
                assert columns == [open_release(tiny.search).name, open_release(other).name]
                assert "same place there" in str(page.evaluate("document.querySelector('.facts').textContent"))
                assert page.complaints == []
        finally:
            server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0
