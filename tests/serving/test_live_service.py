"""A real Triton and a real transformer over tiny random experts: the same answers as offline, and nothing breaks it."""

import ipaddress
import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest

from components.contracts.releases import file_digests, release_digest
from serving import client
from serving.local.check import check_serving
from serving.local.launcher import Service
from tests.release.tiny_release import CONFIG, EXPERTS, PRIOR, Tiny

pytestmark = pytest.mark.slow
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def golden(tiny: Tiny) -> dict[str, list[dict]]:
    """Golden rows by kind: "pairs" for relevance, and search requests as lists of rows."""
    search = pq.read_table(tiny.search / "golden" / "search.parquet").to_pandas()
    return {
        "pairs": pq.read_table(tiny.search / "golden" / "relevance.parquet").to_pylist(),
        "searches": [rows.to_dict("records") for _, rows in search.groupby("request")],
    }


def inputs_of(rows: list[dict]) -> dict[str, list[str]]:
    first = rows[0]
    return {
        "market": [first["market"]],
        "user_id": [first["user_id"]],
        "query": [first["query"]],
        "item_ids": [row["item_id"] for row in rows],
    }


def body(inputs: dict[str, list], **changes) -> dict:
    tensors = [{"name": n, "datatype": "BYTES", "shape": [len(v)], "data": v} for n, v in inputs.items()]
    return {"inputs": tensors} | changes


def test_golden_answers_are_served(service: Service, tiny: Tiny) -> None:
    result = check_serving(tiny.search, service.url)
    assert result["requests"] > 20
    assert 0 < result["p50_ms"] <= result["p99_ms"]
    assert result["p50_stored_ms"] > 0
    assert result["p50_computed_ms"] > 0
    assert result["max_abs_diff"] < TOLERANCE


def test_serving_leaves_the_release_as_it_was(service: Service, tiny: Tiny) -> None:
    check_serving(tiny.search, service.url)
    assert release_digest(file_digests(tiny.search))[:12] == tiny.search.name


def test_relevance_is_the_same_in_any_batch_mix(service: Service, golden: dict) -> None:
    pairs = golden["pairs"] * 5
    random = np.random.default_rng(0)
    for size in (1, 2, 7, len(pairs)):
        chosen = [pairs[row] for row in random.permutation(len(pairs))[:size]]
        relevance, experts = client.relevance(
            service.url, *([pair[name] for pair in chosen] for name in ("market", "query", "title"))
        )
        np.testing.assert_allclose(relevance, [pair["relevance"] for pair in chosen], atol=TOLERANCE)
        assert experts.tolist() == [pair["experts"] for pair in chosen]


def test_concurrent_searches_do_not_mix(service: Service, golden: dict) -> None:
    def score(rows: list[dict]) -> float:
        first = rows[0]
        ids = [row["item_id"] for row in rows]
        page = client.search(service.url, first["market"], first["user_id"], first["query"], ids)
        expected = {row["item_id"]: row["score"] for row in rows}
        return max(abs(row.score - expected[row.item_id]) for row in page)

    with ThreadPoolExecutor(6) as pool:
        assert max(pool.map(score, golden["searches"] * 3)) < TOLERANCE


def executions(service: Service) -> dict[str, int]:
    """Rows each expert has scored so far, by Triton's own count."""
    names = [f"expert_{expert.name}" for expert in EXPERTS]
    stats = {n: httpx.get(f"{service.triton_url}/v2/models/{n}/stats").json()["model_stats"][0] for n in names}
    return {name: stat["inference_count"] for name, stat in stats.items()}


def test_only_the_chosen_experts_run(service: Service, golden: dict) -> None:
    routes = {tuple(pair["experts"]) for pair in golden["pairs"]}
    assert len(routes) > 1, "the tiny router sends every query the same way: this test would prove nothing"
    rows = 50  # each model is asked one row a second by the service's own probes
    for pair in golden["pairs"]:
        before = executions(service)
        client.relevance(service.url, *([pair[name]] * rows for name in ("market", "query", "title")))
        after = executions(service)
        ran = {place for place, name in enumerate(before) if after[name] >= before[name] + rows}
        assert ran == set(pair["experts"])


def test_stored_relevance_runs_no_expert(service: Service, golden: dict) -> None:
    stored = next(rows for rows in golden["searches"] if rows[0]["kind"] == "stored")
    before = executions(service)
    client.search(service.url, stored[0]["market"], "nobody", stored[0]["query"], [r["item_id"] for r in stored])
    ran = {name: count - before[name] for name, count in executions(service).items()}
    assert max(ran.values()) < len(stored)  # the service's own probes ask for a row a second


def test_misses_beyond_the_limit_take_the_prior(service: Service, tiny: Tiny) -> None:
    items = pq.read_table(tiny.search / "catalogue.parquet").to_pandas()
    ids = items[items["market"] == "TH"]["item_id"].tolist()[:30]
    page = client.search(service.url, "TH", "nobody", "zzz nothing like it", ids)
    sources = {row.item_id: row.relevance_source for row in page}
    assert [sources[item_id] for item_id in ids] == ["computed"] * CONFIG.max_computed + ["default"] * (
        len(ids) - CONFIG.max_computed
    )
    defaults = [row.relevance for row in page if row.relevance_source == "default"]
    np.testing.assert_allclose(defaults, PRIOR["TH"], atol=1e-6)
    assert page.user_known is False
    assert [row.score for row in page] == sorted((row.score for row in page), reverse=True)


def test_a_thousand_candidates_are_too_many_for_the_catalogue_but_not_for_the_protocol(
    service: Service, golden: dict
) -> None:
    inputs = inputs_of(golden["searches"][0]) | {"item_ids": [f"no-{n}" for n in range(1000)]}
    answer = httpx.post(f"{service.url}/v2/models/search/infer", json=body(inputs))
    assert answer.status_code == 400
    assert "1000 of 1000 not in this release's catalogue" in answer.json()["error"]


def test_triton_clients_over_http_and_grpc(service: Service, golden: dict) -> None:
    rows = golden["searches"][2]
    broken = {
        "unknown market 'XX'": inputs_of(rows) | {"market": ["XX"]},
        "not in this release's catalogue: 'nope'": inputs_of(rows) | {"item_ids": ["nope"]},
        "not UTF-8": inputs_of(rows) | {"query": ["\udcff\udcfe"]},
        "missing input query": {name: values for name, values in inputs_of(rows).items() if name != "query"},
        "query: value 0 is blank": inputs_of(rows) | {"query": ["  "]},
        "at most 512": inputs_of(rows) | {"query": ["q" * 10_000]},
        "shape [0]": inputs_of(rows) | {"item_ids": []},
        "given more than once": inputs_of(rows) | {"item_ids": [rows[0]["item_id"]] * 2},
    }
    pairs = {name: [pair[name] for pair in golden["pairs"]] for name in ("market", "query", "title")}
    requests = [
        {"model": "search", "inputs": inputs_of(rows)},
        {"model": "relevance", "inputs": pairs},
        *({"model": "search", "inputs": inputs} for inputs in broken.values()),
        {"model": "search", "inputs": inputs_of(rows)},
    ]
    program = Path(__file__).with_name("triton_clients.py")
    addresses = [service.url.removeprefix("http://"), service.grpc_url]
    run = subprocess.run(
        [sys.executable, str(program), *addresses], input=json.dumps(requests), capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    answers = json.loads(run.stdout)
    assert answers["live"] == answers["ready"] == [True, True]
    assert [each["name"] for each in answers["metadata"]["inputs"]] == ["market", "user_id", "query", "item_ids"]
    expected = {row["item_id"]: row for row in rows}
    for protocol in ("http", "grpc"):
        first, scored, *refused, last = answers[protocol]
        assert first == last
        assert first["dtypes"] == {
            "item_ids": "|O", "score": "<f4", "relevance": "<f4", "p_click": "<f4", "p_purchase": "<f4",
            "relevance_source": "|O",
        }  # fmt: skip
        page = first["outputs"]
        for name in ("score", "relevance", "p_click", "p_purchase"):
            offline = [expected[item_id][name] for item_id in page["item_ids"]]
            np.testing.assert_allclose(page[name], offline, atol=TOLERANCE)
        np.testing.assert_allclose(
            scored["outputs"]["relevance"], [pair["relevance"] for pair in golden["pairs"]], atol=TOLERANCE
        )
        assert scored["dtypes"] == {"relevance": "<f4", "experts": "<i8"}
        status = {"http": "400", "grpc": "StatusCode.INVALID_ARGUMENT"}[protocol]
        for message, answer in zip(broken, refused, strict=True):
            assert answer["status"] == status, (message, answer)
            assert message in answer["message"]


def test_curl_works_too(service: Service, golden: dict) -> None:
    if shutil.which("curl") is None:
        pytest.skip("no curl")
    inputs = json.dumps(body(inputs_of(golden["searches"][0]), id="my-own-id"))
    url = f"{service.url}/v2/models/search/infer"
    answer = json.loads(subprocess.run(["curl", "-s", url, "-d", inputs], check=True, capture_output=True).stdout)
    assert answer["id"] == "my-own-id"
    assert answer["parameters"] == {"user_known": True}


VALID = {"market": ["TH"], "user_id": ["u"], "query": ["q"], "item_ids": ["x"]}
MALFORMED = {
    "no JSON": b"{",
    "not UTF-8": b'{"inputs": "\xff"}',
    "empty": b"",
    "an array": b"[]",
    "a string": b'"inputs"',
    "null": b"null",
    "no inputs": b"{}",
    "inputs is a number": b'{"inputs": 3}',
    "inputs is empty": b'{"inputs": []}',
    "a tensor is a string": b'{"inputs": ["market"]}',
    "a tensor has no shape": b'{"inputs": [{"name": "market", "datatype": "BYTES", "data": ["TH"]}]}',
    "deep nesting": b"[" * 100_000,
    "V1 protocol": b'{"instances": [1]}',
    "a surrogate": json.dumps(body(VALID | {"query": ["\ud800"]})).encode(),
    "numbers for text": json.dumps(body(VALID | {"item_ids": [1, 2]})).encode(),
    "nested text": json.dumps(body(VALID | {"item_ids": [["x"]]})).encode(),
    "NaN": b'{"inputs": [{"name": "market", "datatype": "FP32", "shape": [1], "data": [NaN]}]}',
    "an unknown output": json.dumps(body(VALID, outputs=[{"name": "embedding"}])).encode(),
    "a huge shape": json.dumps(body(VALID)).replace("[1]", "[1000000000000]").encode(),
    "a body beyond the limit": b'{"inputs": "' + b"x" * (33 << 20) + b'"}',
}


@pytest.mark.parametrize("what", MALFORMED)
def test_malformed_bodies_are_400_and_the_service_goes_on(service: Service, what: str, golden: dict) -> None:
    headers = {"content-type": "application/json"}
    for model in ("search", "relevance"):
        answer = httpx.post(
            f"{service.url}/v2/models/{model}/infer", content=MALFORMED[what], headers=headers, timeout=30
        )
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"]
    pair = golden["pairs"][0]
    relevance, _ = client.relevance(service.url, [pair["market"]], [pair["query"]], [pair["title"]])
    assert abs(relevance[0] - pair["relevance"]) < TOLERANCE


@pytest.mark.parametrize(
    ("headers", "content"),
    [
        ({"Inference-Header-Content-Length": "5"}, b"{}"),
        ({"Inference-Header-Content-Length": "x"}, b"{}"),
        ({}, b"\x00\x01"),
        (
            {"Inference-Header-Content-Length": "104"},
            b'{"inputs":[{"name":"market","datatype":"BYTES","shape":[1],"parameters":{"binary_data_size":9999}}]}    '
            b"\xff\xff\xff\x7f",
        ),
    ],
    ids=["short header", "header is no number", "no header", "lengths beyond the data"],
)
def test_malformed_binary_bodies_are_400(service: Service, headers: dict[str, str], content: bytes) -> None:
    headers = {"content-type": "application/octet-stream"} | headers
    answer = httpx.post(f"{service.url}/v2/models/search/infer", content=content, headers=headers)
    assert answer.status_code == 400, answer.text


def test_models_cannot_be_taken_away(service: Service) -> None:
    for verb in ("load", "unload"):
        answer = httpx.post(f"{service.url}/v2/repository/models/search/{verb}")
        assert answer.status_code == 400
        assert "fixed by the release" in answer.json()["error"]
    assert httpx.get(f"{service.url}/v2/models/search/ready").is_success


def test_unknown_models_are_not_found(service: Service) -> None:
    assert httpx.post(f"{service.url}/v2/models/ranker/infer", json=body(VALID)).status_code == 404


def test_everything_listens_on_loopback(service: Service) -> None:
    for name, pid in service.pids.items():
        process = psutil.Process(pid)
        listening = [c.laddr.ip for c in process.connections("inet") if c.status == psutil.CONN_LISTEN]
        assert listening, name
        addresses = {ipaddress.ip_address(ip.removeprefix("::ffff:")) for ip in listening}
        assert all(address.is_loopback for address in addresses), name


def test_triton_reports_the_models_of_the_release(service: Service, tiny: Tiny) -> None:
    index = httpx.post(f"{service.triton_url}/v2/repository/index").json()
    assert {model["name"] for model in index} == {path.name for path in (tiny.search / "triton").iterdir()}
    assert {model["state"] for model in index} == {"READY"}
