"""Batch scoring with a trained mixture on a GPU: against a synchronous control, and against the dense baseline.

    python tests/bench/study_relevance.py ... --work WORK          makes WORK: log, encodings, experts, model
    python tests/bench/bench_gpu_mixture.py --work WORK --dense FOLDER [--queries 5000]

FOLDER holds the dense baseline's weights (its speed does not depend on tuning). The workload is simulated: the log's
own queries, ten items each drawn from its items, and once more with a third of the requests repeated, as popular
searches are. The control takes the same requests in the order they come, 2,048 pairs at a time, and does one thing
after another: route every pair, tokenise for an expert (on all cores), run it, copy its vectors to the host, the next
expert, copy all back, fuse. It uses the same packed and compiled experts: what differs is the order of work, that ours
tokenises in processes of its own, and that it routes a query and scores a pair once. The dense baseline goes through
our batch scoring, with a head of the mixture's size; both normalise their texts.
Writes tests/bench/results/gpu-mixture.json.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import torch

from components.contracts.manifest import read_manifest
from components.contracts.text import format_normal_pair, normalise_query, normalise_title
from components.relevance.batch import BatchScorer, normal_pairs
from components.relevance.model.spec import ExpertSpec
from components.relevance.networks import build_single
from components.relevance.packed_scoring import AHEAD, PackedScorer, packed_pairs

RESULT = Path(__file__).parent / "results" / "gpu-mixture.json"
ITEMS = 10
CONTROL_PAIRS = 2048
PAIR = ["market", "query", "title"]


def workload(log: Path, queries: int, seed: int = 0) -> pd.DataFrame:
    """market, query, title of requests of ten items, in the order they come."""
    random = np.random.default_rng(seed)
    judged = pq.read_table(log / "judgments.parquet", columns=["market", "query", "title"]).to_pandas()
    asked = judged.drop_duplicates(["market", "query"]).sample(queries, random_state=seed, ignore_index=True)
    titles = judged["title"].map(normalise_title).unique()
    asked["query"] = asked["query"].map(normalise_query)
    rows = asked.loc[np.repeat(np.arange(queries), ITEMS), ["market", "query"]].reset_index(drop=True)
    drawn = np.concatenate([random.choice(len(titles), ITEMS, replace=False) for _ in range(queries)])
    return rows.assign(title=titles[drawn])


def repeated(pairs: pd.DataFrame, share: float, seed: int = 0) -> pd.DataFrame:
    """The requests, that share of them copies of others."""
    random = np.random.default_rng(seed)
    requests = len(pairs) // ITEMS
    kept = random.permutation(requests)[: round(requests * (1 - share))]
    chosen = random.permutation(np.concatenate([kept, random.choice(kept, requests - len(kept))]))
    return pairs.iloc[(chosen[:, None] * ITEMS + np.arange(ITEMS)).ravel()].reset_index(drop=True)


def control(scorer: PackedScorer, pairs: pd.DataFrame) -> np.ndarray:
    """Relevance of every pair, one step after another."""
    found = []
    for start in range(0, len(pairs), CONTROL_PAIRS):
        markets, queries, titles = (pairs[name].iloc[start : start + CONTROL_PAIRS].tolist() for name in PAIR)
        _, mask_BN = scorer.route(markets, queries)
        vectors = []
        for place, expert in enumerate(scorer.experts):
            rows = np.flatnonzero(mask_BN[:, place])
            texts = [format_normal_pair(expert.spec.template, markets[row], queries[row], titles[row]) for row in rows]
            ready = expert.encoder.prepare(texts)
            room = expert.room(len(rows))
            expert.run(ready, np.arange(len(rows)), room)
            vectors_BD = torch.zeros(len(markets), expert.spec.dim)
            vectors_BD[torch.from_numpy(rows)] = room.cpu()
            vectors.append(vectors_BD)
        found.append(scorer.fuse([own.to(scorer.device) for own in vectors], mask_BN))
    return np.concatenate(found)


def dense_scorer(scorer: PackedScorer, spec: ExpertSpec, folder: Path) -> BatchScorer:
    """The dense baseline alone, with a fresh head of the mixture's size."""
    head = build_single(scorer.mixture.spec, 0, 0, spec.dim).to(scorer.device).eval()

    def route(markets: Sequence[str], queries: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros((len(queries), 1), dtype=np.int64), np.ones((len(queries), 1), dtype=np.float32)

    @torch.inference_mode()
    def fuse(rooms: Sequence[Any], mask_nN: np.ndarray) -> np.ndarray:
        ones = torch.from_numpy(mask_nN).to(scorer.device)
        return head.fusion.logits(tuple(rooms), ones).cpu().numpy()

    experts, _ = packed_pairs([(folder, spec)], "bfloat16")
    return BatchScorer(route, experts, fuse, AHEAD)


def seconds(work: Callable[[], Any]) -> float:
    """Median of three, after one."""
    work()
    taken = []
    for _ in range(3):
        torch.cuda.synchronize()
        started = time.perf_counter()
        work()
        torch.cuda.synchronize()
        taken.append(time.perf_counter() - started)
    return float(np.median(taken))


def expert_seconds(experts: Sequence[Any], pairs: pd.DataFrame) -> dict[str, float]:
    """GPU time of each expert alone over all pairs, tokens ready: what its share of routed pairs is worth."""
    columns = [pairs[name].tolist() for name in PAIR]
    taken = {}
    for expert in experts:
        ready, room = expert.prepare(*columns), expert.room(len(pairs))
        taken[expert.spec.name] = round(seconds(lambda e=expert, r=ready, o=room: e.run(r, np.arange(len(o)), o)), 4)
    return taken


def measure(work: Path, log: Path, dense: Path, queries: int) -> dict[str, Any]:
    """All ways over the same pairs, in one process."""
    scorer = PackedScorer(work / "model", work / "experts", "bfloat16")
    encodings = read_manifest(work / "encodings")
    spec = ExpertSpec(**encodings["dense"])
    alone = dense_scorer(scorer, spec, dense)
    pairs = workload(log, queries)
    again = repeated(pairs, 1 / 3)
    columns = {"distinct": pairs, "repeated": again}
    ours = {name: scorer.score(*(some[column].tolist() for column in PAIR))[0] for name, some in columns.items()}
    difference = max(float(np.abs(ours[name] - control(scorer, some)).max()) for name, some in columns.items())
    assert difference < 1e-3, f"scores differ by {difference}"
    lists, lists_again = ([some[column].tolist() for column in PAIR] for some in (pairs, again))
    taken = {
        "batch": seconds(lambda: scorer.score(*lists)),
        "control": seconds(lambda: control(scorer, pairs)),
        "batch_repeated": seconds(lambda: scorer.score(*lists_again)),
        "control_repeated": seconds(lambda: control(scorer, again)),
        "dense": seconds(lambda: alone.score(normal_pairs(*lists, normalise_query, normalise_title))),
    }
    _, mask = scorer.route(pairs["market"].tolist(), pairs["query"].tolist())
    parameters = {expert.spec.name: expert.spec.parameters for expert in scorer.experts}
    active = float(mask.mean(axis=0) @ np.array(list(parameters.values())))
    return {
        "queries": queries,
        "pairs": len(pairs),
        "max_abs_diff": float(f"{difference:.1e}"),
        "queries_per_second": {name: round(queries / value, 1) for name, value in taken.items()},
        "batch_over_control": round(taken["control"] / taken["batch"], 3),
        "batch_over_control_repeated": round(taken["control_repeated"] / taken["batch_repeated"], 3),
        "mixture_over_dense": round(taken["dense"] / taken["batch"], 3),
        "active_parameters": {"mixture": round(active), "dense": spec.parameters},
        "share": dict(zip(parameters, mask.mean(axis=0).round(3).tolist(), strict=True)),
        "expert_seconds": expert_seconds([*scorer.experts, *alone.experts], pairs),
    }


def main() -> None:
    """Measure, keep and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, help="what study_relevance.py made")
    parser.add_argument("--log", type=Path, help="the log it was made of [default: WORK/log]")
    parser.add_argument("--dense", type=Path, help="the dense baseline's folder")
    parser.add_argument("--queries", type=int, default=5_000)
    arguments = parser.parse_args()
    if not torch.cuda.is_available() or not arguments.work or not arguments.dense:
        print("not measured: needs a GPU, --work and --dense")
        return
    result = {
        "command": f"python tests/bench/bench_gpu_mixture.py --work WORK --dense FOLDER --queries {arguments.queries}",
        "machine": {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "cores": os.cpu_count()},
        "simulated": True,
        **measure(arguments.work, arguments.log or arguments.work / "log", arguments.dense, arguments.queries),
    }
    target = Path(os.environ.get("OUT", RESULT.parent)) / RESULT.name
    target.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
