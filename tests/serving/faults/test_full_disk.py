"""A volume without room: one error, and nothing half-written is left for the next start."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.contracts.tools.manifest import write_json
from serving.local.launcher import serve_release
from serving.local.processes import Child, ServingFailed
from tests.release.tiny_release import Tiny
from tests.serving.faults.faulty import relevance_status

ROOT = Path(__file__).resolve().parents[3]
SIZES = {"no room for the store": "3100k", "no room for the backends": "2000k", "no room at all": "64k"}


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "volume"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no volume may be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_file_that_does_not_fit_leaves_nothing(volume: Path) -> None:
    write_json(volume / "small.json", {"old": True})
    with pytest.raises(OSError, match="No space left"):
        write_json(volume / "small.json", {"text": "x" * 100_000})
    assert [path.name for path in volume.iterdir()] == ["small.json"]
    assert "old" in (volume / "small.json").read_text()


def test_a_process_that_could_not_write_its_last_words_is_spoken_for(volume: Path) -> None:
    child = Child("server", ["/bin/sh", "-c", "echo no words; exit 3"], volume / "server.log", {}, volume)
    (volume / "data").write_bytes(b"x" * (shutil.disk_usage(volume).free - 8192))
    while child.code is None:
        time.sleep(0.01)
    with pytest.raises(ServingFailed, match=rf"disk is full \({volume}\); server ended with code 3"):
        child.check()


@pytest.mark.slow
@pytest.mark.parametrize("what", SIZES)
def test_serving_says_so_in_one_line(volume: Path, tiny: Tiny, tmp_path: Path, what: str) -> None:
    subprocess.run(["mount", "-o", f"remount,size={SIZES[what]}", volume], check=True)
    env = os.environ | {"PYTHONPATH": str(ROOT), "ARCHIPELAGO_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-c", "from pipelines.cli.main import main; main()"]
    ran = subprocess.run(
        [*command, "serve", str(tiny.search), "--state", str(volume / "state"), "--port", "0"],
        capture_output=True,
        text=True,
        env=env,
        timeout=120,
    )
    print(what, ran.stderr)
    assert ran.returncode == 1
    assert "Traceback" not in ran.stderr
    assert "ready" not in ran.stdout
    assert ran.stderr.startswith("archipelago: ")  # one error, which may quote a process's last words
    assert len(ran.stderr.splitlines()) <= 2
    assert "disk is full" in ran.stderr or "No space left" in ran.stderr
    half = [path for path in volume.rglob("*") if path.name.startswith(".") or path.name == "built.json"]
    assert half == []
    subprocess.run(["mount", "-o", "remount,size=100m", volume], check=True)
    with serve_release(tiny.search, volume / "state") as service:
        assert relevance_status(service) == 200
