"""Batch scoring with a trained mixture on a GPU: against a synchronous control, and against dense baselines.

    python -m tests.bench.study_relevance ... --work WORK          makes WORK: log, experts, model
    python -m tests.bench.bench_gpu_mixture --work WORK --dense FOLDER [--dense-layers 18 16] [--queries 10000]

FOLDER holds the dense baseline's weights (its speed does not depend on tuning). The workload is simulated: the log's
own queries, ten items each drawn from its items, and once more with a third of the requests repeated, as popular
searches are. Ours takes it shard by shard, as `archipelago score` reads a file. The control takes the same requests in
the order they come, 2,048 pairs at a time, and does one thing after another: route every pair, tokenise for an expert
(on all cores), run it, copy its vectors to the host, the next expert, copy all back, fuse. It uses the same packed and
compiled experts: what differs is the order of work, that ours tokenises in processes of its own, and that it routes a
query and scores a pair once. A dense baseline goes through our batch scoring, with a head of the mixture's size.
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

from components.contracts.text import normalise_query, normalise_title
from components.relevance.encoding.texts import CutCounts
from components.relevance.experts.weights import expert_spec, prepare_expert
from components.relevance.fitting.networks import build_single
from components.relevance.model.lexical import Lexical
from components.relevance.scoring.batch import BatchMixture, RawPairs
from components.relevance.scoring.packed import AHEAD, SHARD_ROWS, PackedScorer, packed_pairs
from tests.bench.study_relevance import DENSE

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
        for slot, expert in enumerate(scorer.experts):
            rows = np.flatnonzero(mask_BN[:, slot])
            own = [(markets[row], queries[row], titles[row]) for row in rows]
            ready = expert.encoder.packed(expert.encoder.pair_tokens(own))
            buffer = expert.buffer(len(rows))
            expert.run(ready, np.arange(len(rows)), buffer)
            vectors_BD = torch.zeros(len(markets), expert.spec.dim)
            vectors_BD[torch.from_numpy(rows)] = buffer.cpu()
            vectors.append(vectors_BD)
        lexical_B = scorer.mixture.lexical.logits(queries, titles)
        found.append(scorer.fuse([own.to(scorer.device) for own in vectors], mask_BN, lexical_B))
    return np.concatenate(found)


def dense_scorer(scorer: PackedScorer, folder: Path, layers: int) -> BatchMixture:
    """So many layers of the dense baseline alone, with a fresh head of the mixture's size."""
    config = DENSE.model_copy(update={"name": f"dense-{layers}", "source": str(folder), "layer": layers})
    spec = expert_spec(config)
    head = build_single(scorer.mixture.spec, 0, 0, spec.dim).to(scorer.device).eval()
    experts, _ = packed_pairs([(prepare_expert(config), spec)], "bfloat16", CutCounts())

    def route(markets: Sequence[str], queries: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros((len(queries), 1), dtype=np.int64), np.ones((len(queries), 1), dtype=np.float32)

    @torch.inference_mode()
    def fuse(buffers: Sequence[Any], mask_nN: np.ndarray, lexical_n: np.ndarray) -> np.ndarray:
        ones = torch.from_numpy(mask_nN).to(scorer.device)
        return head.fusion.logits(tuple(buffers), ones).cpu().numpy()

    silent = Lexical.silent().logits
    return BatchMixture(normalise_query, normalise_title, route, experts, silent, fuse, AHEAD)


def in_shards(pairs: pd.DataFrame) -> list[RawPairs]:
    """What a file of these pairs is read as."""
    starts = range(0, len(pairs), SHARD_ROWS)
    return [tuple(pairs[name].iloc[start : start + SHARD_ROWS].tolist() for name in PAIR) for start in starts]


def relevance(scorer: PackedScorer | BatchMixture, shards: Sequence[RawPairs]) -> np.ndarray:
    """Of every pair of all shards."""
    return np.concatenate([scores for scores, _ in scorer.score_shards(shards)])


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
        ready, buffer = expert.prepare(*columns), expert.buffer(len(pairs))
        taken[expert.spec.name] = round(seconds(lambda e=expert, r=ready, o=buffer: e.run(r, np.arange(len(o)), o)), 4)
    return taken


def measure(work: Path, log: Path, dense: Path, layers: Sequence[int], queries: int) -> dict[str, Any]:
    """All ways over the same pairs, in one process."""
    scorer = PackedScorer(work / "model", work / "experts", "bfloat16")
    alone = {count: dense_scorer(scorer, dense, count) for count in layers}
    pairs = workload(log, queries)
    again = repeated(pairs, 1 / 3)
    shards, shards_again = in_shards(pairs), in_shards(again)
    difference = max(
        float(np.abs(relevance(scorer, ours) - control(scorer, theirs)).max())
        for ours, theirs in ((shards, pairs), (shards_again, again))
    )
    assert difference < 1e-3, f"scores differ by {difference}"
    taken = {
        "batch": seconds(lambda: relevance(scorer, shards)),
        "control": seconds(lambda: control(scorer, pairs)),
        "batch_repeated": seconds(lambda: relevance(scorer, shards_again)),
        "control_repeated": seconds(lambda: control(scorer, again)),
    }
    taken_alone = {count: seconds(lambda one=one: relevance(one, shards)) for count, one in alone.items()}
    _, mask = scorer.route(pairs["market"].tolist(), pairs["query"].tolist())
    parameters = {expert.spec.name: expert.spec.parameters for expert in scorer.experts}
    experts_alone = [one.experts[0] for one in alone.values()]
    return {
        "queries": queries,
        "pairs": len(pairs),
        "max_abs_diff": float(f"{difference:.1e}"),
        "queries_per_second": {name: round(queries / value, 1) for name, value in taken.items()},
        "batch_over_control": round(taken["control"] / taken["batch"], 3),
        "batch_over_control_repeated": round(taken["control_repeated"] / taken["batch_repeated"], 3),
        "active_parameters": round(float(mask.mean(axis=0) @ np.array(list(parameters.values())))),
        "share": dict(zip(parameters, mask.mean(axis=0).round(3).tolist(), strict=True)),
        "dense": [
            {
                "layers": count,
                "parameters": expert.spec.parameters,
                "queries_per_second": round(queries / value, 1),
                "mixture_over_dense": round(value / taken["batch"], 3),
            }
            for (count, value), expert in zip(taken_alone.items(), experts_alone, strict=True)
        ],
        "expert_seconds": expert_seconds([*scorer.experts, *experts_alone], pairs),
    }


def main() -> None:
    """Measure, keep and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, help="what study_relevance made")
    parser.add_argument("--log", type=Path, help="the log it was made of [default: WORK/log]")
    parser.add_argument("--dense", type=Path, help="the dense baseline's folder")
    parser.add_argument("--dense-layers", type=int, nargs="+", default=[18, 16], help="of the dense baselines")
    parser.add_argument("--queries", type=int, default=10_000)
    arguments = parser.parse_args()
    if not torch.cuda.is_available() or not arguments.work or not arguments.dense:
        print("not measured: needs a GPU, --work and --dense")
        return
    depths = " ".join(map(str, arguments.dense_layers))
    options = f"--work WORK --dense FOLDER --dense-layers {depths} --queries {arguments.queries}"
    result = {
        "command": f"python -m tests.bench.bench_gpu_mixture {options}",
        "machine": {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "cores": os.cpu_count()},
        "simulated": True,
        **measure(
            arguments.work,
            arguments.log or arguments.work / "log",
            arguments.dense,
            arguments.dense_layers,
            arguments.queries,
        ),
    }
    target = Path(os.environ.get("OUT", RESULT.parent)) / RESULT.name
    target.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
