"""A release with one byte flipped is refused at the start, by the command and in the pod, and the file is named."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from components.contracts.tools.manifest import MANIFEST
from tests.release.tiny_release import Tiny

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[3]


def ends(*command: object) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True, timeout=120, env=env)


@pytest.mark.parametrize("name", ["triton/ranker/1/model.onnx", "features/item_stats.parquet", MANIFEST])
def test_one_flipped_byte_is_refused(tiny: Tiny, tmp_path: Path, name: str) -> None:
    release = shutil.copytree(tiny.search, tmp_path / "release")
    content = bytearray((release / name).read_bytes())
    content[len(content) // 2] ^= 1
    (release / name).chmod(0o644)
    (release / name).write_bytes(content)

    command = "from pipelines.cli.main import main; main()"
    served = ends("-c", command, "serve", release, "--state", tmp_path / "state", "--port", 0)
    transformer = ends(
        "-m", "serving.transformer", "--release", release, "--state", tmp_path / "pod",
        "--predictor_host=127.0.0.1:9", "--predictor_http=127.0.0.1:9",
    )  # fmt: skip
    for ended in (served, transformer):
        assert ended.returncode == 2, ended.stderr
        assert f"{release / name}: " in ended.stderr
        assert "Traceback" not in ended.stderr
        assert "ready" not in ended.stdout
    assert not (tmp_path / "state").exists()
    assert not (tmp_path / "pod").exists()
