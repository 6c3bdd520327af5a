"""A release served through the command line, asked by clients that are not ours."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from components.contracts.markets import MARKETS

pytestmark = pytest.mark.slow
Archipelago = Callable[..., str]


@pytest.fixture(scope="module")
def release(simulated: Path) -> Path:
    return Path(json.loads((simulated / "summary.json").read_text())["release"]["path"])


@pytest.fixture(scope="module")
def service(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What `archipelago serve` printed before it was ready: http, grpc, triton and page addresses."""
    command = [str(Path(sys.executable).with_name("archipelago")), "serve", str(release), "--port", "0"]
    state = tmp_path_factory.mktemp("state")
    with subprocess.Popen([*command, "--state", str(state)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = {}
        for line in process.stdout:
            if line.strip() == "ready":
                break
            name, _, address = line.strip().partition(" ")
            said[name] = address
        assert set(said) == {"http", "grpc", "triton", "page"}
        yield said
        process.send_signal(signal.SIGTERM)  # not SIGINT: a shell's background job, as CI may be, ignores that
        assert process.wait(timeout=60) == 0


def curl(url: str, body: dict[str, object]) -> tuple[int, dict[str, object]]:
    if shutil.which("curl") is None:
        pytest.skip("no curl on this machine")
    done = subprocess.run(
        ["curl", "-s", "-w", "\n%{http_code}", url, "-d", json.dumps(body)], capture_output=True, text=True, timeout=60
    )
    answer, _, status = done.stdout.rpartition("\n")
    return int(status), json.loads(answer)


def search_body(market: str, item_ids: list[str], query: str = "phone case") -> dict[str, object]:
    inputs = {"market": [market], "user_id": ["nobody"], "query": [query], "item_ids": item_ids}
    return {"inputs": [{"name": n, "shape": [len(v)], "datatype": "BYTES", "data": v} for n, v in inputs.items()]}


@pytest.mark.parametrize("market", MARKETS)
def test_curl_gets_a_ranked_page_of_every_market(service: dict[str, str], release: Path, market: str) -> None:
    catalogue = pd.read_parquet(release / "catalogue.parquet")
    items = catalogue.loc[catalogue["market"] == market, "item_id"].head(8).tolist()
    status, answer = curl(f"{service['http']}/v2/models/search/infer", search_body(market, items))
    assert status == 200, answer
    outputs = {output["name"]: output["data"] for output in answer["outputs"]}
    assert sorted(outputs["item_ids"]) == sorted(items)
    assert outputs["score"] == sorted(outputs["score"], reverse=True)
    assert set(outputs["relevance_source"]) <= {"stored", "computed", "default"}


def test_a_malformed_request_is_a_400_and_the_service_goes_on(service: dict[str, str], release: Path) -> None:
    url = f"{service['http']}/v2/models/search/infer"
    status, answer = curl(url, search_body("XX", ["nothing"]))
    assert status == 400 and "XX" in json.dumps(answer)
    item = pd.read_parquet(release / "catalogue.parquet").query("market == 'TH'")["item_id"].iloc[0]
    assert curl(url, search_body("TH", [item]))[0] == 200


def test_query_prints_a_ranked_page(archipelago: Archipelago, service: dict[str, str], release: Path) -> None:
    title = pd.read_parquet(release / "catalogue.parquet").query("market == 'VN'")["title"].iloc[0]
    page = archipelago("query", "--market", "VN", "--user", "U", title)
    assert f"VN: {title}"[:40] in page and "p(click)" in page


def test_score_equals_what_the_service_answers(
    archipelago: Archipelago, service: dict[str, str], release: Path, tmp_path: Path
) -> None:
    pairs = pd.read_parquet(release / "golden" / "relevance.parquet")[["market", "query", "title"]].head(6)
    pairs.to_parquet(tmp_path / "pairs.parquet")
    archipelago("score", "--release", release, "--in", tmp_path / "pairs.parquet", "--out", tmp_path / "scores.parquet")
    offline = pd.read_parquet(tmp_path / "scores.parquet")["relevance"].tolist()
    body = {
        "inputs": [
            {"name": name, "shape": [len(pairs)], "datatype": "BYTES", "data": pairs[name].tolist()} for name in pairs
        ]
    }
    status, answer = curl(f"{service['http']}/v2/models/relevance/infer", body)
    assert status == 200, answer
    outputs = {output["name"]: output["data"] for output in answer["outputs"]}
    assert outputs["relevance"] == pytest.approx(offline, abs=1e-4)
