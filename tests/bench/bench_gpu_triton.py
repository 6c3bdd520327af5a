"""A release's relevance models in a real Triton on a GPU, beside offline scoring with the same experts.

    python -m tests.bench.bench_gpu_triton --server TRITONSERVER --stub-python BIN --tokenizer FILE [--parts expert ...]

TRITONSERVER is the folder `pytriton/tritonserver` of the wheel nvidia-pytriton, BIN a folder whose `python3` has numpy
1, torch and transformers (and no scikit-learn that wants numpy 2), FILE Gemma's tokenizer.json. Two experts of
Gemma-3-270M's shape with random weights, and a mixture that asks both: speed does not depend on weights. 50 pairs a
request, and as many clients as each row says, each with one request under way. Three kinds of pairs:

- alone: token ids random, lengths log-normal with median 38, no two pairs share tokens
- search: the pairs of a request begin with the same 9 + ~6 tokens, then have ~23 of their own (bench_gpu_prefix)
- texts: queries and titles of the project's simulator (median 6 and 20 tokens), tokenised inside; the server has been
  asked about the titles before
- new texts: the same with a number after each title, so that none was asked about before

Rates of the server are shares of the offline rate of the same kind in the same process: one expert's packs ready, best
of three; for the whole chain, half of it, because every pair runs through two experts. `padded` sends the same pairs
to the same packed expert with every pair as long as its request's longest, `chain` is a Python model that calls router,
two experts and fusion, each a model, one after the other, and `chain of 16` the same with experts that get 16 pairs at
a time, padded: what the laptop's servers do. Writes tests/bench/results/gpu-triton.json.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from transformers import AutoModel

from components.contracts.text import normalise_query
from components.release.config import ReleaseConfig
from components.release.repository import PACK_SIZES, VERSION, write_relevance_model
from components.relevance.model.mixture import new_mixture
from components.relevance.model.spec import ExpertSpec, FusionSpec, MixtureSpec, RouterSpec, save_experts
from components.relevance.packed.tokens import Tokens
from components.relevance.scoring.reference import ReferenceScorer
from components.relevance.scoring.served import PackedMixture, ServedExpert
from tests.bench.bench_gpu_experts import SHAPES, timed, workload
from tests.bench.bench_gpu_prefix import searches
from tests.bench.triton_load import Clients, answer, request

RESULT = Path(__file__).parent / "results" / "gpu-triton.json"
MARKETS = ("ID", "MY", "PH", "SG", "TH", "VN")
PAIRS, REQUESTS, SECONDS = 50, 64, 2.0
# More than are sent in a step of so many seconds and its warm-up.
NEW_REQUESTS = 3000
OFFLINE_SIZES = (3_168, 6_336, 12_672, 25_344)
TEMPLATE = "market: {market}\nquery: {query}\nitem: {item}"
# Way -> (model that is asked, its output), and the models of a part: what is asked comes last.
WAYS = {
    "packed": ("expert_a", "pooled"),
    "padded": ("expert_a", "pooled"),
    "chain": ("chain", "relevance"),
    "chain of 16": ("chain_of_16", "relevance"),
    "whole": ("whole", "relevance"),
}
LOADED = {
    "packed": ["expert_a"],
    "padded": ["expert_a"],
    "chain": ["expert_a", "expert_b", "chain_router", "chain_fusion", "chain"],
    "chain of 16": ["expert_a", "expert_b", "chain_router", "chain_fusion", "chain_of_16"],
    "whole": ["whole"],
    "texts": ["relevance"],
}
Columns = tuple[list[str], list[str], list[str]]
_GRPC, _HTTP, _METRICS = 28101, 28100, 28102


def write_repository(root: Path, tokenizer: Path, precision: str) -> Path:
    """A Triton repository's relevance half, as a release has it, and the chain beside it."""
    config = SHAPES["gemma3-270m"]
    config.use_cache = False
    experts, model = root / "experts", root / "model"
    specs = []
    for seed, name in enumerate(("a", "b")):
        folder = experts / name
        if not folder.is_dir():
            torch.manual_seed(seed)
            with torch.device("cuda"):
                trunk = AutoModel.from_config(config, dtype=torch.bfloat16)
            trunk.save_pretrained(folder)
            shutil.copy(tokenizer, folder / "tokenizer.json")
        size = {
            "dim": config.hidden_size,
            "width": config.hidden_size,
            "layer": config.num_hidden_layers,
            "parameters": 0,
        }
        reads = {"pooling": "last", "separator_id": None, "template": TEMPLATE, "max_tokens": 256, "pad_id": 0}
        about = {"family": "gemma3_text", "source": "random", "licence": "none", "digest": ""}
        specs.append(ExpertSpec(name=name, **size, **reads, **about))
    save_experts(experts, specs)
    sizes = (RouterSpec(4096, 64, 16), FusionSpec((256, 64), 0.1, 0.1))
    spec = MixtureSpec(MARKETS, ("a", "b"), (config.hidden_size,) * 2, 2, *sizes)
    model.mkdir(exist_ok=True)
    torch.manual_seed(7)
    new_mixture(spec).save(model)
    repository = root / f"repository-{precision}"
    write_relevance_model(repository, spec, specs, model, experts, ReleaseConfig(precision=precision))
    pooled = ", ".join(
        f'{{name: "pooled_{slot}" data_type: TYPE_FP32 dims: [-1, {config.hidden_size}]}}' for slot in (0, 1)
    )
    mask = '{name: "mask" data_type: TYPE_FP32 dims: [-1, 2]}'
    query = '{name: "query" data_type: TYPE_STRING dims: [-1]}'
    relevance = '{name: "relevance" data_type: TYPE_FP32 dims: [-1]}'
    _write_compared(repository / "whole", _tokens(ragged=True), relevance, 64, "KIND_GPU", precision)
    for name in ("chain", "chain_of_16"):
        _write_compared(repository / name, _tokens(ragged=False), relevance, 1, "KIND_CPU count: 4", precision)
    _write_compared(repository / "chain_router", query, mask, 0, "KIND_CPU count: 2", precision)
    _write_compared(repository / "chain_fusion", f"{pooled}, {mask}", relevance, 1, "KIND_GPU", precision)
    return repository


def _tokens(ragged: bool) -> str:
    option = " allow_ragged_batch: true" if ragged else ""
    return ", ".join(f'{{name: "{name}" data_type: TYPE_INT32 dims: [-1]{option}}}' for name in ("ids", "lengths"))


def _write_compared(folder: Path, inputs: str, output: str, batch: int, kind: str, precision: str) -> None:
    """A model of the folder triton_models beside this file."""
    (folder / VERSION).mkdir(parents=True)
    source, of, micro_batch = folder.name.partition("_of_")
    shutil.copy(Path(__file__).parent / "triton_models" / f"{source}.py", folder / VERSION / "model.py")
    parameters = {"precision": precision, "pack_sizes": ",".join(map(str, PACK_SIZES))}
    if of:
        parameters["micro_batch"] = micro_batch
    entries = ", ".join(f'{{key: "{key}" value: {{string_value: "{value}"}}}}' for key, value in parameters.items())
    (folder / "config.pbtxt").write_text(
        f'name: "{folder.name}" backend: "python" max_batch_size: {batch} input [{inputs}] output [{output}] '
        f"instance_group [{{kind: {kind}}}] parameters [{entries}]" + (" dynamic_batching {}" if batch > 1 else ""),
        encoding="utf-8",
    )


@contextmanager
def server(arguments: argparse.Namespace, repository: Path, models: Sequence[str], log: Path) -> Iterator[float]:
    """A running Triton with those models; yields the seconds until it was ready."""
    command = [
        str(arguments.server / "bin" / "tritonserver"), f"--model-repository={repository}",
        f"--backend-directory={arguments.server / 'backends'}", "--model-control-mode=explicit",
        *(f"--load-model={model}" for model in models), "--disable-auto-complete-config", "--exit-timeout-secs=20",
        f"--http-port={_HTTP}", f"--grpc-port={_GRPC}", f"--metrics-port={_METRICS}",
        *(f"--{kind}-address=127.0.0.1" for kind in ("http", "grpc", "metrics")),
    ]  # fmt: skip
    libraries = f"{arguments.server.parents[1] / 'nvidia_pytriton.libs'}:{os.environ.get('LD_LIBRARY_PATH', '')}"
    environment = os.environ | {"PATH": f"{arguments.stub_python}:{os.environ['PATH']}", "LD_LIBRARY_PATH": libraries}
    environment.pop("PYTHONPATH", None)
    started = time.monotonic()
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(command, cwd=repository, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        while not _ready():
            if process.poll() is not None or time.monotonic() - started > 240:
                raise RuntimeError(f"Triton: {log.read_text(encoding='utf-8')[-3000:]}")
            time.sleep(0.5)
        yield time.monotonic() - started
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


def _ready() -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{_HTTP}/v2/health/ready", timeout=2) as found:
            return bool(found.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def token_requests(tokens: Tokens) -> list[tuple[np.ndarray, np.ndarray]]:
    """(ids (1, t), lengths (1, n)) of PAIRS pairs each."""
    ends = np.concatenate([[0], tokens.lengths_R.cumsum()])
    return [
        (tokens.ids_T[None, ends[at] : ends[at + PAIRS]], tokens.lengths_R[None, at : at + PAIRS].astype(np.int32))
        for at in range(0, len(tokens.lengths_R), PAIRS)
    ]


def padded_requests(requests: Sequence[tuple[np.ndarray, np.ndarray]]) -> list[tuple[np.ndarray, np.ndarray]]:
    """The same with every pair as long as the request's longest."""
    made = []
    for ids, lengths in requests:
        longest = int(lengths.max())
        block = np.zeros((PAIRS, longest), dtype=np.int32)
        block[np.arange(longest) < lengths[0][:, None]] = ids[0]
        made.append((block.reshape(1, -1), np.full((1, PAIRS), longest, dtype=np.int32)))
    return made


def write_log(log: Path) -> None:
    """A simulated log to take texts from; needs more packages than a GPU machine may have (DuckDB)."""
    from components.marketplace.config import MarketplaceConfig
    from components.marketplace.simulator.simulate import simulate

    few = {"users": 50, "search_requests": 400, "rec_requests": 20, "shop_requests": 20}
    simulate(MarketplaceConfig(days=2, items=2000, queries=300, **few), datetime(2026, 1, 1, tzinfo=UTC), log)


def texts(log: Path) -> list[Columns]:
    """(markets, queries, titles) of requests, as the project's simulator writes them."""
    if not log.is_dir():
        write_log(log)
    random = np.random.default_rng(3)
    items = pq.read_table(log / "items.parquet", columns=["market", "title"]).to_pandas()
    asked = pq.read_table(log / "requests.parquet", columns=["market", "query"]).to_pandas().dropna()
    chosen = asked.drop_duplicates().sample(REQUESTS, random_state=0)
    titles = {market: own["title"].to_numpy() for market, own in items.groupby("market")}
    return [
        ([market] * PAIRS, [query] * PAIRS, random.choice(titles[market], PAIRS, replace=False).tolist())
        for market, query in zip(chosen["market"], chosen["query"], strict=True)
    ]


def new_texts(asked: Sequence[Columns], step: int) -> list[Columns]:
    """NEW_REQUESTS of the same requests with titles that no other has; each step has its own."""
    made = []
    for number in range(NEW_REQUESTS):
        markets, queries, titles = asked[number % len(asked)]
        made.append((markets, queries, [f"{title} {step}{number:04d}" for title in titles]))
    return made


def text_requests(asked: Sequence[Columns]) -> list[bytes]:
    """Serialised requests to `relevance`."""
    names = ("market", "query", "title")
    return [
        request(
            "relevance",
            {
                name: np.array([[t.encode() for t in own]], dtype=object)
                for name, own in zip(names, columns, strict=True)
            },
            ["relevance"],
        )
        for columns in asked
    ]


def offline_rate(expert: ServedExpert, tokens: Tokens) -> float:
    """Pairs a second of packs that are ready."""
    ready = expert.packed(tokens)
    expert.run(ready)
    return len(tokens.lengths_R) / min(timed(lambda: expert.run(ready), lambda: None) for _ in range(3))


def statistics(model: str) -> dict[str, int]:
    """Triton's own: requests answered, batches run, nanoseconds that requests waited and were computed."""
    with urllib.request.urlopen(f"http://127.0.0.1:{_HTTP}/v2/models/{model}/stats", timeout=10) as found:
        own = json.load(found)["model_stats"][0]
    times = {key: own["inference_stats"][key]["ns"] for key in ("queue", "compute_infer")}
    return {"n": own["inference_count"], "runs": own["execution_count"], **times}


class Steps:
    """Rows of the result, printed as they come."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self.rows: list[dict[str, Any]] = []

    def measure(self, way: str, model: str, messages: Sequence[bytes], clients: int, offline: float) -> None:
        before = statistics(model)
        found = self._clients.step(messages, clients, SECONDS)
        spent = {key: value - before[key] for key, value in statistics(model).items()}
        pairs = found.per_second * PAIRS
        row = {"way": way, "clients": clients, "pairs_per_second": round(pairs), "share": round(pairs / offline, 3)}
        row |= {
            "p50_ms": found.p50_ms,
            "p99_ms": found.p99_ms,
            "requests_a_batch": round(spent["n"] / spent["runs"], 1),
        }
        means = {f"{key}_ms": round(spent[key] / spent["n"] / 1e6, 2) for key in ("queue", "compute_infer")}
        self.rows.append(row | means)
        print(json.dumps(self.rows[-1]), flush=True)


def differences(messages: Sequence[bytes], expected: Sequence[np.ndarray], at_once: int = 32) -> dict[str, float]:
    """Of served values from offline ones, largest, absolute and relative to the largest: each request alone, and many
    at once."""
    from concurrent.futures import ThreadPoolExecutor

    def served(place: int) -> float:
        values = np.frombuffer(answer(f"127.0.0.1:{_GRPC}", messages[place])[0], dtype=np.float32)
        return float(np.abs(values - expected[place].ravel()).max())

    places = range(min(at_once, len(messages)))
    with ThreadPoolExecutor(at_once) as pool:
        together = max(pool.map(served, places))
    largest = max(float(np.abs(values).max()) for values in expected)
    return {"alone": max(map(served, places)), "together": together, "largest_value": largest}


def measure(arguments: argparse.Namespace, out: Path) -> None:
    """All parts asked for; the result is written after each."""
    root = arguments.work
    files = "--server TRITONSERVER --stub-python BIN --tokenizer FILE"
    result: dict[str, Any] = {
        "command": " ".join(["python -m tests.bench.bench_gpu_triton", files, "--precisions", *arguments.precisions]),
        "machine": {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "cores": os.cpu_count()},
        "simulated": True,
        **{"offline_pairs_per_second": {}, "ready_s": {}, "difference": {}, "rows": []},
    }
    asked = texts(root / "log")
    messages = {"texts": text_requests(asked)}
    kinds = {
        "alone": Tokens.of([own.tolist() for own in workload(PAIRS * REQUESTS)]),
        "search": searches(REQUESTS, PAIRS),
    }
    padded_scores = None
    for precision in arguments.precisions:
        repository = write_repository(root, arguments.tokenizer, precision)
        if padded_scores is None:
            reference = ReferenceScorer.load(root / "model", root / "experts")
            padded_scores = np.concatenate([reference.score(*columns)[0] for columns in asked])
            del reference
        device = torch.device("cuda:0")
        mixture = PackedMixture(repository / "relevance" / VERSION, precision, OFFLINE_SIZES, device)
        expert = mixture.experts[0]
        rates = {kind: offline_rate(expert, Tokens.joined([tokens] * 3)) for kind, tokens in kinds.items()}
        prepared = [mixture.prepare(*columns) for columns in asked]
        scores = [mixture.run(own).cpu().numpy()[own.inverse_n] for own in prepared]
        for kind, columns in (("texts", asked), ("new texts", new_texts(asked, 0)[:REQUESTS])):
            markets, queries, titles = ([text for own in columns for text in own[place]] for place in range(3))
            text_tokens = expert.tokens(list(zip(markets, map(normalise_query, queries), titles, strict=True)))
            rates[kind] = offline_rate(expert, Tokens.joined([text_tokens] * 3))
        vectors = {}
        for kind, tokens in kinds.items():
            vectors[kind] = np.split(expert.run(expert.packed(tokens)).cpu().numpy(), REQUESTS)
            ready = token_requests(tokens)
            for way, (model, output) in WAYS.items():
                own = padded_requests(ready) if way == "padded" else ready
                messages[f"{way} {kind}"] = [request(model, {"ids": i, "lengths": n}, [output]) for i, n in own]
        result["offline_pairs_per_second"][precision] = {kind: round(rate) for kind, rate in rates.items()}
        print(precision, json.dumps(result["offline_pairs_per_second"][precision]), flush=True)
        del mixture, expert, prepared
        torch.cuda.empty_cache()
        result["difference"][precision] = {
            "packed and padded float32, offline": float(np.abs(np.concatenate(scores) - padded_scores).max())
        }
        # All of the first precision; of the others what a release runs.
        parts = arguments.parts if precision == arguments.precisions[0] else ["packed", "texts"]
        for part in parts:
            models = LOADED[part]
            log = out / f"triton-{precision}-{part}.log"
            # Each part has a server of its own: no model beside it takes memory or cores.
            with server(arguments, repository, models, log) as seconds, Clients(f"127.0.0.1:{_GRPC}") as clients:
                result["ready_s"][f"{precision}, {part}"] = round(seconds, 1)
                steps = Steps(clients)
                for kind in kinds if part != "texts" else ("texts", "new texts"):
                    way = kind if part == "texts" else f"{part} {kind}"
                    if part == "packed" or way == "texts":
                        expected = scores if way == "texts" else vectors[kind]
                        result["difference"][precision][way] = differences(messages[way], expected)
                    offline = rates[kind] / (1 if part in ("packed", "padded") else 2)
                    for step, count in enumerate(arguments.clients, 1):
                        own = text_requests(new_texts(asked, step)) if way == "new texts" else messages[way]
                        steps.measure(f"{way}, {precision}", models[-1], own, count, offline)
                result["rows"] += steps.rows
                print(json.dumps(result["difference"][precision]), flush=True)
            (out / RESULT.name).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Measure, keep and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", type=Path)
    parser.add_argument("--stub-python", type=Path)
    parser.add_argument("--tokenizer", type=Path)
    parser.add_argument(
        "--work", type=Path, default=Path("/tmp/gpu-triton"), help="folder for weights, log, repository"
    )
    parser.add_argument("--precisions", nargs="+", default=["bfloat16"], choices=["bfloat16", "float8", "float32"])
    parser.add_argument("--parts", nargs="+", default=list(LOADED), choices=list(LOADED))
    parser.add_argument("--clients", nargs="+", type=int, default=[1, 16, 64])
    arguments = parser.parse_args()
    if not torch.cuda.is_available() or not arguments.server or not arguments.tokenizer:
        print("not measured: needs a GPU, --server, --stub-python and --tokenizer")
        return
    torch.set_grad_enabled(False)
    arguments.work.mkdir(parents=True, exist_ok=True)
    out = Path(os.environ.get("OUT", RESULT.parent))
    measure(arguments, out)


if __name__ == "__main__":
    main()
