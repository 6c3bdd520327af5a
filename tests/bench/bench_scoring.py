"""Batch scoring of a release on this machine's CPU, against answering request by request.

    python -m tests.bench.bench_scoring --release runs/RUN/releases/DIGEST

The workload is simulated: search requests of ten items whose queries repeat as popular ones do (Zipf), from the
release's own queries and catalogue. The control answers each request when it comes: router, chosen expert, chosen
expert, fusion, each waiting for the last, as the server does. Ours scores the same pairs in one call. Both use the same
ONNX files and every core. Writes tests/bench/results/scoring.json.
"""

import argparse
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from components.contracts.tools.manifest import write_json
from components.release import onnx_scoring
from components.release.export import open_session
from components.release.repository import VERSION, onnx_path
from components.relevance.encoding.texts import CutCounts
from tests.bench.measured import RESULTS, machine

ITEMS = 10
PAIR = ["market", "query", "title"]


def workload(release: Path, requests: int, seed: int = 0) -> pd.DataFrame:
    """request, market, query, title in the order the requests come."""
    random = np.random.default_rng(seed)
    stored = pq.read_table(release / "features" / "relevance.parquet", columns=["query_key", "item_id"]).to_pandas()
    titles = pq.read_table(release / "catalogue.parquet", columns=["item_id", "title"]).to_pandas()
    items = stored.merge(titles, on="item_id").groupby("query_key")["title"].agg(list)
    order = random.permutation(len(items))
    popularity = 1 / np.arange(1, len(items) + 1)
    drawn = order[random.choice(len(items), requests, p=popularity / popularity.sum())]
    rows = []
    for request, place in enumerate(drawn):
        market, _, query = str(items.index[place]).partition(":")
        shown = random.choice(items.iloc[place], min(ITEMS, len(items.iloc[place])), replace=False)
        rows += [(request, market, query, title) for title in shown]
    return pd.DataFrame(rows, columns=["request", *PAIR])


def control(release: Path, pairs: pd.DataFrame) -> tuple[np.ndarray, float]:
    """Relevance of every pair, a request at a time, and the seconds that took."""
    repository = release / "triton"
    names = [path.name for path in repository.iterdir() if (path / VERSION / "model.onnx").is_file()]
    sessions = {name: open_session(onnx_path(repository, name), os.cpu_count() or 1) for name in names}

    def run(model: str, feeds: Mapping[str, np.ndarray], outputs: list[str]) -> list[np.ndarray]:
        return list(sessions[model].run(outputs, dict(feeds)))

    served, _ = onnx_scoring.served_mixture(release, run, CutCounts())
    requests = [request for _, request in pairs.groupby("request")]
    served.score(*(requests[0][column].tolist() for column in PAIR))
    started = time.perf_counter()
    answers = [served.score(*(request[column].tolist() for column in PAIR))[0] for request in requests]
    return np.concatenate(answers), time.perf_counter() - started


def batch(release: Path, pairs: pd.DataFrame) -> tuple[np.ndarray, float]:
    """The same through batch scoring; models are opened before the clock starts, as the control's are."""
    scorer = onnx_scoring.ReleaseScorer(release)
    scorer.score(*(pairs[column].tolist()[:ITEMS] for column in PAIR))
    started = time.perf_counter()
    relevance, _ = scorer.score(*(pairs[column].tolist() for column in PAIR))
    return relevance, time.perf_counter() - started


def measure(release: Path, requests: int) -> dict[str, object]:
    """Both ways over all pairs, and over the distinct pairs alone, in one process."""
    load = os.getloadavg()[0]
    pairs = workload(release, requests)
    expected, slow = control(release, pairs)
    found, fast = batch(release, pairs)
    difference = float(np.abs(expected - found).max())
    assert difference < 1e-3, f"scores differ by {difference}"
    distinct = pairs.drop_duplicates(PAIR, ignore_index=True)
    _, slow_distinct = control(release, distinct)
    _, fast_distinct = batch(release, distinct)
    return {
        "command": "python -m tests.bench.bench_scoring --release RELEASE",
        "machine": machine(),
        "load_average": round(load, 1),
        "simulated": True,
        "figure": {
            "pairs_per_second": round(len(pairs) / fast, 1),
            "pairs": len(pairs),
            "distinct_pairs": len(distinct),
            "ratio_without_repeats": round(slow_distinct / fast_distinct, 2),
            "max_abs_diff": float(f"{difference:.1e}"),
        },
        "baseline": {"what": "request by request", "pairs_per_second": round(len(pairs) / slow, 1)},
        "ratio": round(slow / fast, 2),
    }


def main() -> None:
    """Measure, keep and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--release", type=Path, help="a search release [default: the newest of runs/]")
    parser.add_argument("--requests", type=int, default=300)
    arguments = parser.parse_args()
    searching = (path.parents[1] for path in Path("runs").glob("*/releases/*/features/relevance.parquet"))
    found = sorted(searching, key=lambda path: path.stat().st_mtime)
    if not (arguments.release or found):
        print("not measured: no search release under runs/ (`make run` makes one; or --release)")
        return
    release = arguments.release or found[-1]
    result = measure(release, arguments.requests)
    write_json(RESULTS / "scoring.json", result)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
