"""A served release under observation: every request is counted, logged and traced once, whoever answers it; events sent
back reach the next search and the log; the log is one that the project reads."""

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import httpx
import psutil
import pyarrow.parquet as pq
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.parser import text_string_to_metric_families

from components.contracts.errors import BadInput
from components.contracts.schemas import CANDIDATES, REQUESTS
from components.contracts.tables import read_table
from components.contracts.tools.manifest import read_manifest
from components.marketplace.logs.config import LoadConfig
from components.marketplace.logs.load import load_log
from serving import client
from serving.local.launcher import Service, serve_release
from serving.observe.collect import collect
from serving.observe.pseudonym import KEY_VARIABLE, Pseudonyms
from tests.release.tiny_release import CONFIG, EXPERTS, MARKETS, Tiny
from tests.serving.real_triton import require_triton

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[3]
KEY = "the key of a test of the log"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CALLER = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
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
    release: Path
    page: client.Page
    after: client.Page
    request_id: str
    user: str
    metrics: dict[tuple[str, tuple[tuple[str, str], ...]], float]
    triton_metrics: dict[tuple[str, tuple[tuple[str, str], ...]], float]
    spans: list


def body(market: str, user: str, query: str, items: list[str], **more: object) -> dict:
    inputs = {"market": [market], "user_id": [user], "query": [query], "item_ids": items}
    tensors = [{"name": n, "datatype": "BYTES", "shape": [len(v)], "data": v} for n, v in inputs.items()]
    return {"inputs": tensors} | more


def scrape(url: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = httpx.get(f"{url}/metrics").text
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def triton_metrics_url(service: Service) -> str:
    (port,) = [flag for flag in psutil.Process(service.pids["triton"]).cmdline() if "--metrics-port=" in flag]
    return f"http://127.0.0.1:{port.partition('=')[2]}"


class Collector(BaseHTTPRequestHandler):
    """Stands in for an OpenTelemetry collector: keeps what it is sent."""

    def do_POST(self) -> None:
        sent = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            sent = gzip.decompress(sent)
        for resource in ExportTraceServiceRequest.FromString(sent).resource_spans:
            self.server.spans += [span for scope in resource.scope_spans for span in scope.spans]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def collector() -> Iterator[HTTPServer]:
    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        server.spans = []
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def observed(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory, collector: HTTPServer) -> Iterator[Observed]:
    require_triton()
    root = tmp_path_factory.mktemp("observed")
    first = pq.read_table(tiny.search / "golden" / "search.parquet").to_pylist()[0]
    items = pq.read_table(tiny.search / "catalogue.parquet").to_pylist()
    ids = [item["item_id"] for item in items if item["market"] == first["market"]][:12]
    flags = [f"--log_folder={root / 'log'}", f"--traces=http://127.0.0.1:{collector.server_port}"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(KEY_VARIABLE, KEY)
        with serve_release(tiny.search, root / "state", flags=flags) as service:
            infer = f"{service.url}/v2/models/search/infer"
            answer = httpx.post(
                infer, json=body(first["market"], "TH-user-1", "unseen query", ids, id="mine"), headers=CALLER
            )
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
            request_id = answer.json()["parameters"]["request_id"]
            assert page.request_id not in (None, request_id)
            mine = {"user_id": "TH-user-1", "request_id": request_id}
            seen = [mine | {"type": "impression", "item_id": row.item_id} for row in page[:4]]
            seen[3]["position"] = 7
            clicked = mine | {"type": "click", "item_id": page[1].item_id, "event_id": "the-click"}
            bought = mine | {"type": "purchase", "item_id": page[5].item_id}
            strange = mine | {"type": "click", "item_id": page[2].item_id, "user_id": "somebody else"}
            posted = httpx.post(f"{service.url}/v1/events", json={"events": [*seen, clicked, bought, strange]})
            assert (posted.status_code, posted.json()) == (200, {"accepted": 7})
            client.send_events(service.url, [clicked])
            with pytest.raises(BadInput, match=r"events\[0\]\.type: "):
                client.send_events(service.url, [mine | {"type": "x"}])
            after = client.search(service.url, first["market"], "TH-user-1", "unseen query", ids)
            metrics = scrape(service.url), scrape(triton_metrics_url(service))
        # Left by SIGTERM, long before a part would have been closed for its age.
        user = Pseudonyms(KEY).of("TH-user-1")
        yield Observed(root / "log", tiny.search, page, after, request_id, user, *metrics, collector.spans)


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
    # The refused ones are in no table: the launcher's own first request and three of ours were answered.
    assert len(requests) == 4


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
        ("rest", "events", "200"),
        ("rest", "events", "200"),
        ("rest", "events", "400"),
        ("rest", "search", "200"),
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

    assert value("requests_total", model="search", protocol="rest", status="200") == 4
    assert value("requests_total", model="search", protocol="rest", status="400") == 2
    assert value("requests_total", model="unknown", protocol="rest", status="404") == 1
    assert value("requests_total", model="relevance", protocol="grpc", status="INVALID_ARGUMENT") == 1
    assert value("request_seconds_count", model="search") == 6
    assert value("stage_seconds_count", stage="features") == 4  # an unknown output is refused before the work
    market = observed.page[0].item_id.split("-")[0]
    computed = value("ranked_items_total", market=market, source="computed")
    assert computed >= 2 * CONFIG.max_computed
    asked = sum(value("routed_pairs_total", expert=expert.name) for expert in EXPERTS)
    assert asked % 2 == 0  # k = 2 experts a pair
    assert value("feature_age_seconds") > 0
    assert value("events_total", type="impression") == 4
    assert value("events_total", type="click") == 3
    assert value("stage_seconds_count", stage="push") == 2


def test_triton_tells_what_padding_costs(observed: Observed) -> None:
    found = {labels: value for (name, labels), value in observed.triton_metrics.items() if "expert_tokens" in name}
    experts = {dict(labels)["expert"] for labels in found}
    assert experts <= {f"expert_{expert.name}" for expert in EXPERTS}
    assert experts
    for expert in experts:
        used, run = (found[("expert", expert), ("kind", kind)] for kind in ("used", "run"))
        assert 0 < used <= run
    assert sum(v for labels, v in found.items() if dict(labels)["kind"] == "run") > sum(
        v for labels, v in found.items() if dict(labels)["kind"] == "used"
    )


def test_the_next_search_sees_what_was_clicked(observed: Observed) -> None:
    before = {row.item_id: row.p_click for row in observed.page}
    after = {row.item_id: row.p_click for row in observed.after}
    assert before.keys() == after.keys()
    assert max(abs(before[item] - after[item]) for item in before) > 1e-4


def test_the_project_reads_the_log(observed: Observed, tiny: Tiny, tmp_path: Path) -> None:
    rows = collect(observed.log, [observed.release], tmp_path / "data")
    judgments = tiny.inputs.relevance.log / "judgments.parquet"
    lenient = LoadConfig(max_dropped=0.5)
    load_log(tmp_path / "data", judgments, MARKETS, datetime.now(UTC), tmp_path / "loaded", lenient)
    assert rows["requests"] == 4
    # Of somebody who was not shown that answer: of no request, so of no use as a label.
    collected = pq.read_table(tmp_path / "data" / "events.parquet").to_pylist()
    (strange,) = [event for event in collected if event["request_id"] is None]
    assert (strange["type"], strange["item_id"]) == ("click", observed.page[2].item_id)
    (dropped,) = read_manifest(tmp_path / "loaded")["metrics"]["dropped"]
    assert (dropped["problem"], dropped["rows"]) == ("in search without a request", 1)
    candidates = pq.read_table(tmp_path / "loaded" / "candidates.parquet").to_pandas()
    mine = candidates[candidates["request_id"] == observed.request_id].set_index("item_id")
    items = [row.item_id for row in observed.page]
    # Three impressions at their rank, one elsewhere, and what was bought was seen.
    assert mine["position"].dropna().to_dict() == {
        items[0]: 1,
        items[1]: 2,
        items[2]: 3,
        items[3]: 7,
        items[5]: 6,
    }
    assert candidates[candidates["request_id"] != observed.request_id]["position"].isna().all()
    events = pq.read_table(tmp_path / "loaded" / "events.parquet").to_pandas()
    found = {(row.type, row.item_id, row.request_id) for row in events.itertuples()}
    assert found == {
        ("click", items[1], observed.request_id),  # posted twice, there once
        ("purchase", items[5], observed.request_id),
    }
    users = pq.read_table(tmp_path / "loaded" / "users.parquet").to_pydict()
    assert observed.user in users["user_id"]
    assert "TH-user-1" not in users["user_id"]


def test_a_trace_joins_the_callers(observed: Observed) -> None:
    mine = [span for span in observed.spans if span.trace_id.hex() == TRACE]
    (server,) = [span for span in mine if span.name == "search rest"]
    assert server.parent_span_id.hex() == PARENT
    stages = {span.name for span in mine if span.parent_span_id == server.span_id}
    assert stages == {"features", "queue", "triton_relevance", "triton_search"}
    assert all(server.start_time_unix_nano <= span.start_time_unix_nano for span in mine)
    # Others have traces of their own: of the launcher, of clients, of posts of events.
    names = {span.name for span in observed.spans if span.trace_id.hex() != TRACE}
    assert {"search rest", "relevance grpc", "unknown rest", "events rest"} <= names
    assert "unseen query" not in str(observed.spans)


def test_a_log_without_a_key_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "serving.transformer", f"--release={tiny.search}", f"--state={tmp_path / 's'}"]
    command += ["--predictor_host=127.0.0.1:1", "--predictor_http=127.0.0.1:1"]
    env = {name: value for name, value in os.environ.items() if name != KEY_VARIABLE} | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [*command, f"--log_folder={tmp_path / 'log'}"], capture_output=True, text=True, env=env, timeout=120
    )
    assert ended.returncode != 0
    assert f"{KEY_VARIABLE}: a log needs a key" in ended.stderr
