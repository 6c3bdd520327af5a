"""What a failure leaves in the service's log: one line, in which nothing that a caller sent makes a second one."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from serving.local.launcher import Service, serve_release
from tests.release.tiny_release import Tiny
from tests.serving.faults.faulty import PAIR, is_ready, reseal, seconds_until

pytestmark = pytest.mark.slow
EVIL = "x\n2026-01-01 00:00:00 forged line\x1b[31m\u2028\x00"


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
def service(tiny: Tiny, state: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A release whose fusion fails for more than one pair, with an error that repeats a title."""
    release = shutil.copytree(tiny.relevance_only, tmp_path_factory.mktemp("broken") / "release")
    model = release / "triton" / "relevance" / "1" / "model.py"
    model.chmod(0o644)
    text = model.read_text()
    assert "strings(request, name)" in text
    broken = text.replace(
        "def strings(request, name):",
        "def strings(request, name):\n"
        "    found = [v.decode() for v in pb_utils.get_input_tensor_by_name(request, name).as_numpy().ravel()]\n"
        "    if name == 'title' and len(found) == 2:\n"
        "        raise ValueError(found[0])\n"
        "    return found\n\n\ndef _strings(request, name):",
    )
    model.write_text(broken)
    reseal(release)
    with serve_release(release, state) as running:
        yield running


def test_a_500_is_one_line_and_nothing_in_it_is_unescaped(service: Service, state: Path) -> None:
    seconds_until(lambda: is_ready(service), 20)
    log = next(state.glob("*/logs/transformer.log"))
    before = log.read_text().splitlines()
    texts = {name: [text] * 2 for name, text in PAIR.items()} | {"title": [EVIL, "y"]}
    tensors = [{"name": n, "datatype": "BYTES", "shape": [2], "data": v} for n, v in texts.items()]
    url = f"{service.url}/v2/models/relevance/infer"
    assert [httpx.post(url, json={"inputs": tensors}, timeout=60).status_code for _ in range(3)] == [500] * 3
    # Refused ones, and paths and names that are meant to be logged.
    for name, data in (("market", [EVIL] * 2), (EVIL, ["y"] * 2)):
        refused = [{**tensors[0], "name": name, "data": data}, *tensors[1:]]
        assert httpx.post(url, json={"inputs": refused}, timeout=60).status_code == 400
    assert httpx.get(f"{service.url}/v2/models/%0A2026-01-01%20forged").status_code == 404
    lines = log.read_text().splitlines()[len(before) :]
    assert len(lines) == 3, lines
    assert all("forged" in line and "\\n" in line for line in lines)
    assert not any(mark in "".join(lines) for mark in "\x1b\x00\u2028")
