"""A release with one byte flipped is refused at the start, by the command and in the pod, and the file is named."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from components.contracts.releases import PUBLIC_KEY, SIGNATURE, sealed
from components.contracts.tools.manifest import MANIFEST, read_json, write_json
from tests.contracts.test_signature import write_keys
from tests.release.tiny_release import Tiny

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[3]


def ends(*command: object, **variables: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHONPATH": str(ROOT)} | variables
    return subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True, timeout=120, env=env)


@pytest.mark.parametrize("name", ["triton/ranker/1/model.onnx", "features/item_stats.parquet", MANIFEST])
def test_one_flipped_byte_is_refused(tiny: Tiny, tmp_path: Path, name: str) -> None:
    release = shutil.copytree(tiny.search, tmp_path / "release")
    content = bytearray((release / name).read_bytes())
    content[len(content) // 2] ^= 1
    (release / name).chmod(0o644)
    (release / name).write_bytes(content)
    assert_refused(release, f"{release / name}: ", tmp_path)


def test_a_release_of_other_features_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    release = shutil.copytree(tiny.search, tmp_path / "release")
    write_json(release / MANIFEST, sealed(read_json(release / MANIFEST) | {"feature_schema": "search_ranker_v0-0"}))
    assert_refused(release, f"{release}: built for the features search_ranker_v0-0, this version serves", tmp_path)


def assert_refused(release: Path, reason: str, tmp_path: Path) -> None:
    """By the command and in the pod, in one line and before anything is made."""
    command = "from pipelines.cli.main import main; main()"
    served = ends("-c", command, "serve", release, "--state", tmp_path / "state", "--port", 0)
    transformer = ends(
        "-m", "serving.transformer", "--release", release, "--state", tmp_path / "pod",
        "--predictor_host=127.0.0.1:9", "--predictor_http=127.0.0.1:9",
    )  # fmt: skip
    for ended in (served, transformer):
        assert ended.returncode == 2, ended.stderr
        assert reason in ended.stderr
        assert "Traceback" not in ended.stderr
        assert "ready" not in ended.stdout
    assert not (tmp_path / "state").exists()
    assert not (tmp_path / "pod").exists()


def test_with_a_public_key_only_its_owners_releases_are_served(tiny: Tiny, tmp_path: Path) -> None:
    """By flag and by environment, by the command and in the pod; the port, which is taken, is looked at after it."""
    private, public = write_keys(tmp_path / "keys")
    release = shutil.copytree(tiny.search, tmp_path / "release")
    command = "from pipelines.cli.main import main; main()"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        serve = ("-c", command, "serve", release, "--state", tmp_path / "state", "--port", port)
        transformer = (
            "-m", "serving.transformer", "--release", release, "--state", tmp_path / "pod", f"--http_port={port}",
            "--predictor_host=127.0.0.1:9", "--predictor_http=127.0.0.1:9",
        )  # fmt: skip
        for way in (serve, transformer):
            unsigned = ends(*way, **{PUBLIC_KEY: str(public)})
            assert (unsigned.returncode, unsigned.stdout) == (2, "")
            assert f"{release / SIGNATURE}: No such file" in unsigned.stderr

        signed = ends("-c", command, "sign", release, "--key", private)
        assert signed.returncode == 0, signed.stderr
        for way in ((*serve, "--public-key", public), (*transformer, f"--public_key={public}")):
            ended = ends(*way)
            assert ended.returncode == 2
            assert str(port) in ended.stderr and SIGNATURE not in ended.stderr
