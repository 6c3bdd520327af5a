"""A second server in the same state folder is refused, and the first does not notice."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving import client
from tests.release.tiny_release import Tiny
from tests.serving.faults.faulty import PAIR, addresses

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[3]
COMMAND = [sys.executable, "-c", "from pipelines.cli.main import main; main()"]


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "ARCHIPELAGO_CACHE": str(tmp_path / "cache")}


@pytest.fixture
def first(tiny: Tiny, tmp_path: Path, env: dict[str, str]) -> Iterator[str]:
    """The address of a server whose state lies in `state`."""
    command = [*COMMAND, "serve", str(tiny.relevance_only), "--state", str(tmp_path / "state"), "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)
    yield addresses(server)["http"]
    server.send_signal(signal.SIGTERM)
    assert server.wait(60) == 0


def test_the_second_is_refused(first: str, tiny: Tiny, tmp_path: Path, env: dict[str, str]) -> None:
    files = {path: path.stat().st_ino for path in (tmp_path / "state").rglob("*") if path.is_file()}
    assert files
    for state, port, complaint in (
        ("state", "0", "another server uses this folder"),
        ("other", first.rpartition(":")[2], "in use"),
    ):
        started = time.monotonic()
        arguments = ["serve", str(tiny.search), "--state", str(tmp_path / state), "--port", port]
        second = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, env=env, timeout=60)
        assert second.returncode == 2
        assert second.stderr.count("\n") == 1
        assert complaint in second.stderr
        assert time.monotonic() - started < 20
    assert {path: path.stat().st_ino for path in files} == files
    relevance, _ = client.relevance(first, *([text] for text in PAIR.values()))
    assert relevance.shape == (1,)
    asked = subprocess.run(
        [*COMMAND, "query", "--market", "TH", "x"], capture_output=True, text=True, env=env, timeout=60
    )
    assert "nothing is being served" not in asked.stderr  # the first one's note is still there
