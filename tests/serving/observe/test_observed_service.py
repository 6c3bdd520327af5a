"""A served release under observation: every request is counted and logged once, whoever answers it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pyarrow.parquet as pq
import pytest
from prometheus_client.parser import text_string_to_metric_families

from components.contracts.errors import BadInput
from components.contracts.schemas import CANDIDATES, REQUESTS
from components.contracts.tables import read_table
from serving import client
from serving.local.launcher import Service, serve_release
from serving.local.triton_server import triton_environment
from serving.observe.pseudonym import KEY_VARIABLE, Pseudonyms
from tests.release.tiny_release import CONFIG, EXPERTS, Tiny

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[3]
KEY = "the key of a test of the log"
# Triton's client cannot live in one process with KServe's, which other tests import.
GRPC = """
import sys
import numpy as np
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException
def ask(market):
    texts = {"market": market, "query": "\\u0e40\\u0e04\\u0e2a", "title": "a title"}
    inputs = []
    for name, text in texts.items():
        tensor = InferInput(name, [1], "BYTES")
        tensor.set_data_from_numpy(np.array([text.encode()], dtype=object))
        inputs.append(tensor)
    return InferenceServerClient(sys.argv[1]).infer("relevance", inputs)
ask("TH")
try:
    ask("XX")
except InferenceServerException as error:
    print(error.status())
"""


@dataclass(frozen=True)
class Observed:
    """What clients saw of a service that has ended, and what is left of it."""

    log: Path
    page: client.Page
    request_id: str
    user: str
    metrics: dict[tuple[str, tuple[tuple[str, str], ...]], float]


def body(market: str, user: str, query: str, items: list[str], **more: object) -> dict:
    inputs = {"market": [market], "user_id": [user], "query": [query], "item_ids": items}
    tensors = [{"name": n, "datatype": "BYTES", "shape": [len(v)], "data": v} for n, v in inputs.items()]
    return {"inputs": tensors} | more


def scrape(service: Service) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = httpx.get(f"{service.url}/metrics").text
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture(scope="module")
def observed(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:
    try:
        triton_environment()
    except BadInput as error:
        pytest.skip(f"no Triton: {error}")
    root = tmp_path_factory.mktemp("observed")
    first = pq.read_table(tiny.search / "golden" / "search.parquet").to_pylist()[0]
    items = pq.read_table(tiny.search / "catalogue.parquet").to_pylist()
    ids = [item["item_id"] for item in items if item["market"] == first["market"]][:12]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(KEY_VARIABLE, KEY)
        with serve_release(tiny.search, root / "state", flags=[f"--log_folder={root / 'log'}"]) as service:
            infer = f"{service.url}/v2/models/search/infer"
            answer = httpx.post(infer, json=body(first["market"], "TH-user-1", "unseen query", ids, id="mine"))
            assert answer.status_code == 200, answer.text
            assert answer.json()["id"] == "mine"
            page = client.search(service.url, first["market"], "TH-user-1", "unseen query", ids)
            assert httpx.post(infer, json=body("XX", "u", "q", ids)).status_code == 400
            wrong = body(first["market"], "u", "q", ids, outputs=[{"name": "nothing"}])
            assert httpx.post(infer, json=wrong).status_code == 400
            nobody = f"{service.url}/v2/models/guess-{'x' * 50}/infer"
            assert httpx.post(nobody, json=body("TH", "u", "q", ids)).status_code == 404
            code = subprocess.run(
                [sys.executable, "-c", GRPC, service.grpc_url], capture_output=True, text=True, env=os.environ
            )
            assert "INVALID_ARGUMENT" in code.stdout, code.stderr
            metrics = scrape(service)
        # Left by SIGTERM, long before a part would have been closed for its age.
        request_id = answer.json()["parameters"]["request_id"]
        yield Observed(root / "log", page, request_id, Pseudonyms(KEY).of("TH-user-1"), metrics)


def test_what_was_answered_is_on_disk_after_sigterm(observed: Observed) -> None:
    (part,) = [path for path in observed.log.iterdir() if path.name.startswith("part-")]
    requests = {row["request_id"]: row for row in read_table(part / "requests.parquet", REQUESTS).to_pylist()}
    mine = requests[observed.request_id]
    assert mine["user_id"] == observed.user
    assert (mine["query"], mine["domain"]) == ("unseen query", "search")
    candidates = read_table(part / "candidates.parquet", CANDIDATES).to_pandas()
    logged = candidates[candidates["request_id"] == observed.request_id].sort_values("rank")
    for column in ("score", "relevance", "p_click", "p_purchase"):
        shown = [getattr(row, column) for row in observed.page]
        assert logged[column].tolist() == pytest.approx(shown, abs=1e-6)
    assert logged["item_id"].tolist() == [row.item_id for row in observed.page]
    assert logged["relevance_source"].tolist() == [row.relevance_source for row in observed.page]
    assert logged["position"].isna().all()
    # The refused ones are in no table: the launcher's own first request and two of ours were answered.
    assert len(requests) == 3


def test_every_request_has_a_line(observed: Observed) -> None:
    (path,) = observed.log.glob("requests-*.jsonl")
    lines = [json.loads(text) for text in path.read_text().splitlines()]
    seen = [(line["protocol"], line["model"], line["status"]) for line in lines]
    assert seen[:2] == [("rest", "relevance", "200"), ("rest", "search", "200")]  # the launcher's
    assert seen[2:] == [
        ("rest", "search", "200"),
        ("rest", "search", "200"),
        ("rest", "search", "400"),
        ("rest", "search", "400"),
        ("rest", "unknown", "404"),
        ("grpc", "relevance", "OK"),
        ("grpc", "relevance", "INVALID_ARGUMENT"),
    ]
    mine = lines[2]
    assert mine["request_id"] == observed.request_id
    assert mine["user"] == observed.user
    assert mine["relevance_source"] == {"computed": CONFIG.max_computed, "default": 12 - CONFIG.max_computed}
    assert {"features", "queue", "triton_relevance", "triton_search"} <= mine["stages_ms"].keys()
    assert 0 < mine["stages_ms"]["features"] < mine["latency_ms"]
    assert "unseen query" not in path.read_text()
    assert "TH-user-1" not in path.read_text()


def test_metrics_count_the_same(observed: Observed) -> None:
    def value(name: str, **labels: str) -> float:
        return observed.metrics[(f"archipelago_{name}", tuple(sorted(labels.items())))]

    assert value("requests_total", model="search", protocol="rest", status="200") == 3
    assert value("requests_total", model="search", protocol="rest", status="400") == 2
    assert value("requests_total", model="unknown", protocol="rest", status="404") == 1
    assert value("requests_total", model="relevance", protocol="grpc", status="INVALID_ARGUMENT") == 1
    assert value("request_seconds_count", model="search") == 5
    assert value("stage_seconds_count", stage="features") == 3  # an unknown output is refused before the work
    market = observed.page[0].item_id.split("-")[0]
    computed = value("ranked_items_total", market=market, source="computed")
    assert computed >= 2 * CONFIG.max_computed
    asked = sum(value("routed_pairs_total", expert=expert.name) for expert in EXPERTS)
    assert asked % 2 == 0  # k = 2 experts a pair
    assert value("feature_age_seconds") > 0


def test_a_log_without_a_key_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "serving.transformer", f"--release={tiny.search}", f"--state={tmp_path / 's'}"]
    command += ["--predictor_host=127.0.0.1:1", "--predictor_http=127.0.0.1:1"]
    env = {name: value for name, value in os.environ.items() if name != KEY_VARIABLE} | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [*command, f"--log_folder={tmp_path / 'log'}"], capture_output=True, text=True, env=env, timeout=120
    )
    assert ended.returncode != 0
    assert f"{KEY_VARIABLE}: a log needs a key" in ended.stderr
