"""kill -9 of Triton or the transformer under the launcher: each comes back where it was, and leaves nothing behind."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from serving import client
from serving.local.launcher import Service, serve_release
from tests.release.tiny_release import Tiny
from tests.serving.faults.faulty import PAIR, is_ready, relevance_status, seconds_until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def service(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    before = shared_memory()
    with serve_release(tiny.relevance_only, tmp_path_factory.mktemp("state")) as running:
        yield running
        assert shared_memory() > before
    assert shared_memory() == before


def shared_memory() -> set[str]:
    """The regions that servers of this process hold."""
    return {path.name for path in Path("/dev/shm").glob(f"archipelago_{os.getpid()}_*")}


def test_a_killed_triton_is_started_anew(service: Service) -> None:
    assert relevance_status(service) == 200
    pid, url = service.pids["triton"], service.triton_url
    os.kill(pid, signal.SIGKILL)
    assert relevance_status(service) == 503
    seen = seconds_until(lambda: not is_ready(service), at_most=5)
    assert httpx.get(f"{service.url}/v2/health/live").is_success
    back = seconds_until(lambda: is_ready(service), at_most=60)
    print(f"Triton: seen after {seen:.1f} s, back {back:.1f} s later")
    assert service.pids["triton"] != pid
    assert service.triton_url == url
    assert relevance_status(service) == 200


def test_a_killed_transformer_is_started_anew(service: Service) -> None:
    seconds_until(lambda: is_ready(service), at_most=60)
    pid = service.pids["transformer"]
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(client.Unavailable, match="no answer"):
        client.relevance(service.url, *([text] for text in PAIR.values()))
    back = seconds_until(lambda: is_ready(service), at_most=60)
    print(f"transformer: back after {back:.1f} s")
    assert service.pids["transformer"] != pid
    assert relevance_status(service) == 200


def test_what_dies_again_and_again_is_given_more_time(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    seconds_until(lambda: is_ready(service), at_most=60)
    caplog.clear()
    for _ in range(3):
        pid = service.pids["transformer"]
        os.kill(pid, signal.SIGKILL)
        seconds_until(lambda pid=pid: service.pids["transformer"] != pid, at_most=30)  # type: ignore[misc]
    lines = [record.getMessage() for record in caplog.records if "started anew" in record.getMessage()]
    pauses = [float(line.split(" in ")[1].split(" s")[0]) for line in lines]
    assert len(pauses) == 3
    assert pauses == [pauses[0] * 2**k for k in range(3)]
    seconds_until(lambda: is_ready(service), at_most=60)
