"""A release's GPU models in a real Triton: ragged requests in any mix have the offline answers, bad ones fail alone."""

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pyarrow.parquet as pq
import pytest

from components.release.repository import expert_model
from components.relevance.encoding.padded import TextEncoder
from components.relevance.encoding.pair_tokenizer import PairTokenizer
from components.relevance.encoding.texts import normal_pairs
from components.relevance.model.spec import load_experts
from components.relevance.scoring.reference import ReferenceScorer
from serving.local.check import check_serving
from serving.local.processes import Child, free_ports
from serving.local.triton_server import TritonPorts
from tests.release.tiny_release import Tiny
from tests.serving.packed_triton import infer, serve_packed, wait_ready
from tests.serving.real_triton import require_triton

pytestmark = pytest.mark.slow
TOLERANCE = 1e-4
Pairs = list[tuple[str, str, str]]


@pytest.fixture(scope="module")
def triton(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonPorts]:
    require_triton()
    experts = [expert_model(spec.name) for spec in load_experts(tiny.inputs.relevance.experts)]
    models = ["relevance", "ranker", "search", *experts]
    root = tmp_path_factory.mktemp("packed")
    with serve_packed(tiny.search / "triton", models, root, precision="float32", pack_sizes="64,256,1024") as running:
        yield running


@pytest.fixture(scope="module")
def url(triton: TritonPorts) -> str:
    return f"http://127.0.0.1:{triton.http}"


@pytest.fixture(scope="module")
def reference(tiny: Tiny) -> ReferenceScorer:
    return ReferenceScorer.load(tiny.inputs.relevance.model, tiny.inputs.relevance.experts)


@pytest.fixture(scope="module")
def golden(tiny: Tiny) -> list[dict]:
    return pq.read_table(tiny.search / "golden" / "relevance.parquet").to_pylist()


@pytest.fixture(scope="module")
def pairs(tiny: Tiny) -> Pairs:
    """Raw pairs of many lengths, some of them more than once."""
    known = pq.read_table(tiny.inputs.relevance.encodings / "pairs.parquet").to_pandas()
    rows = [(row.market, row.query, row.title) for row in known.itertuples()]
    return [
        (market, f"  {query.upper()} " if number % 3 else query, title * (1 + number % 4))
        for number, (market, query, title) in enumerate((rows * 20)[:1000])
    ]


def ask(url: str, pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
    columns = zip(("market", "query", "title"), zip(*pairs, strict=True), strict=True)
    answer = infer(url, "relevance", {name: ("BYTES", values) for name, values in columns})
    assert answer["relevance"].shape == (1, len(pairs))
    return answer["relevance"][0], answer["experts"][0]


def test_golden_answers_are_served(url: str, golden: list[dict]) -> None:
    relevance, experts = ask(url, [(row["market"], row["query"], row["title"]) for row in golden])
    np.testing.assert_allclose(relevance, [row["relevance"] for row in golden], atol=TOLERANCE)
    assert experts.tolist() == [row["experts"] for row in golden]


def test_any_mix_of_requests_has_the_offline_answers(url: str, pairs: Pairs, reference: ReferenceScorer) -> None:
    expected, chosen = reference.score(*map(list, zip(*pairs, strict=True)))
    sizes = [1, 7, 50, 3, 1, 20, 118, 2, 50, 1, 9, 38] * 4
    begins = np.cumsum([0, *sizes])
    requests = [slice(0, 1000), *(slice(start % 700, start % 700 + n) for start, n in zip(begins, sizes, strict=False))]
    with ThreadPoolExecutor(16) as clients:
        answers = list(clients.map(lambda request: ask(url, pairs[request]), requests))
    for request, (relevance, experts) in zip(requests, answers, strict=True):
        np.testing.assert_allclose(relevance, expected[request], atol=TOLERANCE)
        assert experts.tolist() == chosen[request].tolist()
    statistics = httpx.get(f"{url}/v2/models/relevance/stats").json()["model_stats"][0]
    assert statistics["execution_count"] < statistics["inference_count"], "no batch held requests of different lengths"


def test_experts_take_ragged_requests(url: str, tiny: Tiny, pairs: Pairs) -> None:
    root = tiny.inputs.relevance.experts
    for spec in load_experts(root):
        own = normal_pairs(*zip(*pairs[:60], strict=True))
        expected = TextEncoder(root / spec.name, spec).encode_pairs(own)
        tokens = PairTokenizer.load(root / spec.name, spec).tokens(*zip(*own, strict=True))
        ids = [ids.tolist() for ids in tokens.lists()]

        def vectors(cut: slice, name: str = expert_model(spec.name), ids: list[list[int]] = ids) -> np.ndarray:
            flat = [token for own in ids[cut] for token in own]
            inputs = {"ids": ("INT32", flat), "lengths": ("INT32", [len(own) for own in ids[cut]])}
            return infer(url, name, inputs)["pooled"][0]

        cuts = [slice(start, start + 1 + start % 7) for start in range(0, 60, 3)]
        with ThreadPoolExecutor(8) as clients:
            for cut, found in zip(cuts, clients.map(vectors, cuts), strict=True):
                np.testing.assert_allclose(found, expected[cut], atol=TOLERANCE)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"market": ["XX"], "query": ["q"], "title": ["t"]}, "relevance: unknown market 'XX' (served: ID, TH)"),
        ({"market": ["ID"], "query": ["q", "r"], "title": ["t"]}, "1 markets, 2 queries and 1 titles; must be equal"),
        ({"market": [], "query": [], "title": []}, "relevance: no pairs"),
    ],
)
def test_a_bad_request_fails_alone(url: str, golden: list[dict], inputs: dict[str, list[str]], message: str) -> None:
    good = [(row["market"], row["query"], row["title"]) for row in golden]
    bad = {name: ("BYTES", values) for name, values in inputs.items()}

    def send(number: int) -> str | np.ndarray:
        if number % 2:
            return ask(url, good)[0]
        with pytest.raises(RuntimeError) as caught:
            infer(url, "relevance", bad)
        return str(caught.value)

    with ThreadPoolExecutor(12) as clients:
        answers = list(clients.map(send, range(24)))
    assert all(message in answer for answer in answers[::2])
    for relevance in answers[1::2]:
        np.testing.assert_allclose(relevance, [row["relevance"] for row in golden], atol=TOLERANCE)


@pytest.mark.parametrize(
    ("ids", "lengths", "message"),
    [
        ([5, 6], [], "lengths: empty"),
        ([5, 6], [2, 0], "lengths: 0, expected 1 to 48 tokens per pair"),
        ([5] * 49, [49], "lengths: 49, expected 1 to 48 tokens per pair"),
        ([5, 6, 7], [2], "ids: 3 tokens, but lengths add up to 2"),
        ([5, -1], [2], "ids: -1, expected 0 to "),
        ([5, 1 << 30], [2], f"ids: {1 << 30}, expected 0 to "),
    ],
)
def test_tokens_that_no_expert_has_are_refused(url: str, ids: list[int], lengths: list[int], message: str) -> None:
    with pytest.raises(RuntimeError, match=f"expert_qwen: {message}"):
        infer(url, "expert_qwen", {"ids": ("INT32", ids), "lengths": ("INT32", lengths)})
    assert infer(url, "expert_qwen", {"ids": ("INT32", [5]), "lengths": ("INT32", [1])})["pooled"].shape[:2] == (1, 1)


def test_the_transformer_serves_the_release_by_them(tiny: Tiny, triton: TritonPorts, tmp_path: Path) -> None:
    """As in a pod on a GPU node: the same public contract, and every model answers to the probe of its health."""
    http, grpc = free_ports(2)
    command = [sys.executable, "-m", "serving.transformer", f"--release={tiny.search}", f"--state={tmp_path}"]
    command += [f"--http_port={http}", f"--grpc_port={grpc}", f"--predictor_host=127.0.0.1:{triton.grpc}"]
    command += [f"--predictor_http=127.0.0.1:{triton.http}", "--micro_batch=1000", "--lane_places=64"]
    child = Child("transformer", command, tmp_path / "transformer.log", os.environ, tmp_path)
    try:
        wait_ready(child, f"http://127.0.0.1:{http}")
        assert check_serving(tiny.search, f"http://127.0.0.1:{http}")["max_abs_diff"] < TOLERANCE
    finally:
        child.stop()
    assert "models that do not answer: {" not in child.log.read_text()


def test_the_log_holds_no_error(url: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    log = next(Path(tmp_path_factory.getbasetemp()).glob("packed*/triton.log")).read_text()
    assert "Traceback" not in log
    assert "Stub process" not in log
