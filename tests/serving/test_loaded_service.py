"""Two workers of a real service: they share the ports, honour callers' limits, and bound what they take on."""

import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import httpx
import psutil
import pyarrow.parquet as pq
import pytest

from serving import client
from serving.local.check import check_serving
from serving.local.launcher import Service, serve_release
from tests.release.tiny_release import CONFIG, Tiny
from tests.serving.real_triton import require_triton

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def service(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    require_triton()
    state = tmp_path_factory.mktemp("state")
    with serve_release(tiny.search, state, workers=2, flags=["--in_flight=4"]) as running:
        yield running


@pytest.fixture(scope="module")
def item_ids(tiny: Tiny) -> list[str]:
    items = pq.read_table(tiny.search / "catalogue.parquet").to_pandas()
    return items[items["market"] == "TH"]["item_id"].tolist()


def unseen(item_ids: list[str], **parameters: int) -> dict:
    inputs = {"market": ["TH"], "user_id": ["u"], "query": ["zzz nothing like it"], "item_ids": item_ids}
    tensors = [{"name": n, "datatype": "BYTES", "shape": [len(v)], "data": v} for n, v in inputs.items()]
    return {"inputs": tensors, "parameters": parameters}


def sources(answer: httpx.Response) -> list[str]:
    outputs = {output["name"]: output["data"] for output in answer.json()["outputs"]}
    return outputs["relevance_source"]


def test_two_workers_answer_as_one(service: Service, tiny: Tiny) -> None:
    workers = psutil.Process(service.pids["transformer"]).children()
    assert len(workers) == 2
    assert check_serving(tiny.search, service.url)["requests"] > 20
    for _ in range(30):  # connections of their own
        httpx.get(f"{service.url}/v2/health/live")
    name = r'archipelago_requests_total\{model="search",protocol="rest",status="200"\} (\S+)'
    counts = {float(re.search(name, httpx.get(f"{service.url}/metrics").text)[1]) for _ in range(10)}  # type: ignore[index]
    assert len(counts) == 1, "each worker shows its own figures"


def test_a_callers_limit_leaves_what_does_not_fit_to_the_default(service: Service, item_ids: list[str]) -> None:
    url = f"{service.url}/v2/models/search/infer"
    patient = httpx.post(url, json=unseen(item_ids[:8], timeout=25_000_000), timeout=30)
    assert sources(patient) == ["computed"] * CONFIG.max_computed
    hurried = httpx.post(url, json=unseen(item_ids[:8], timeout=1), timeout=30)
    assert hurried.status_code == 504
    assert "time" in hurried.json()["error"]
    # No time for an expert before the ranker's tenth of a second, and enough for the ranker.
    answers = [httpx.post(url, json=unseen(item_ids[:8], timeout=100_000), timeout=30) for _ in range(5)]
    answered = [answer for answer in answers if answer.status_code == 200]
    assert all(set(sources(answer)) == {"default"} for answer in answered)
    assert {answer.status_code for answer in answers} <= {200, 504}


def test_beyond_the_bound_callers_are_told_to_wait(service: Service, item_ids: list[str]) -> None:
    def ask(_: int) -> httpx.Response:
        return httpx.post(f"{service.url}/v2/models/search/infer", json=unseen(item_ids[:8]), timeout=60)

    with ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(ask, range(40)))
    assert {answer.status_code for answer in answers} == {200, 429}
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert refused.headers["retry-after"] == "1"
    assert client.search(service.url, "TH", "u", "zzz", item_ids[:2])


def test_a_slow_body_is_a_408(service: Service) -> None:
    parts = urlsplit(service.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=20) as caller:
        head = b"POST /v2/models/search/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{"
        caller.sendall(head)
        started = time.monotonic()
        assert caller.recv(4096).startswith(b"HTTP/1.1 408")
        assert 9 < time.monotonic() - started < 15


def test_a_silent_connection_is_closed(service: Service) -> None:
    parts = urlsplit(service.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=20) as caller:
        caller.sendall(b"POST /v2")
        assert caller.recv(4096) == b""
