"""kill -9 of a model's process inside Triton: seen, said, and mended without a restart."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from serving import client
from serving.local.launcher import Service, serve_release
from tests.release.tiny_release import Tiny
from tests.serving.faults.faulty import PAIR, is_ready, model_process, relevance_status, seconds_until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def service(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serve_release(tiny.search, tmp_path_factory.mktemp("state")) as running:
        yield running


@pytest.mark.parametrize("model", ["router", "relevance", "search"])
def test_a_killed_model_is_seen_and_comes_back(service: Service, model: str) -> None:
    expected, _ = client.relevance(service.url, *([text] for text in PAIR.values()))
    seconds_until(lambda: is_ready(service), 10)
    victim = model_process(service, model)
    victim.kill()
    seen = seconds_until(lambda: not is_ready(service), at_most=5)
    recovered = seconds_until(lambda: is_ready(service), at_most=10)
    print(f"{model}: seen after {seen:.1f} s, recovered {recovered:.1f} s later")
    assert model_process(service, model).pid != victim.pid
    found, _ = client.relevance(service.url, *([text] for text in PAIR.values()))
    assert found == pytest.approx(expected, abs=1e-6)


def test_requests_meanwhile_are_answered_503_never_500(service: Service) -> None:
    seconds_until(lambda: is_ready(service), 10)
    model_process(service, "router").kill()
    until, seen = time.monotonic() + 10, []
    with ThreadPoolExecutor(8) as pool:
        while time.monotonic() < until:
            seen += pool.map(relevance_status, [service] * 8)
    assert set(seen) == {200, 503}
    assert seen[-1] == 200


def test_a_busy_model_is_not_taken_for_a_dead_one(service: Service) -> None:
    seconds_until(lambda: is_ready(service), 10)
    pid = model_process(service, "relevance").pid
    many = {name: [text] * 1000 for name, text in PAIR.items()}
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(client.relevance, service.url, *many.values()) for _ in range(16)]
        while not all(each.done() for each in asked):
            assert is_ready(service)
            time.sleep(0.2)
    assert model_process(service, "relevance").pid == pid
