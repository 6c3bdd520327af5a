"""Samples, features and their join over logs of three sizes on two cores, and the join beside pandas and Feast.

    python -m tests.bench.bench_entire_space

Writes tests/bench/results/entire-space.json. Each stage runs in a process of its own, whose peak memory is its alone.
Relevance is a stand-in, shared character trigrams: no model is needed.
"""

import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd

from components.contracts.features import CANDIDATE_VIEWS, FEATURES, REQUEST_VIEWS, VIEWS, stored_features
from components.contracts.text import query_key
from components.contracts.tools.log import configure
from components.contracts.tools.manifest import read_manifest, write_json
from components.features.join import join_training_set
from components.features.tables import build_feature_tables
from components.samples.build import build_samples
from tests.bench.entire_space_world import world_profile, write_world
from tests.bench.measured import RESULTS, machine
from tests.features.feast_join import feast_features

# Times the users and requests of the world: about 0.3, 1 and 10 million candidates.
SCALES = (0.4, 1.35, 13.5)
ENGINE = {"memory": "2GB", "threads": 2}
_ROW = ["request_id", "user_id", "item_id", "market", "query", "domain", "timestamp"]


def samples(root: Path) -> None:
    """The samples stage."""
    profile = world_profile()
    config = profile.samples.model_copy(update=ENGINE)
    build_samples(root / "log", root / "scores", root / "encodings", config, profile.simulated_as_of, root / "samples")


def features(root: Path) -> None:
    """The features stage."""
    profile = world_profile()
    config = profile.features.model_copy(update=ENGINE)
    build_feature_tables(root / "log", root / "scores", config, profile.simulated_as_of, root / "features")


def join(root: Path) -> None:
    """The join."""
    config = world_profile().features.model_copy(update=ENGINE)
    join_training_set(root / "features", root / "log", root / "samples", config, root / "training_set")


def feast_join(root: Path) -> None:
    """The same rows by Feast's get_historical_features: requests once, then candidates."""
    rows = _rows(root)
    feast_features(root / "features", rows.drop_duplicates(["user_id", "market", "query", "timestamp"]), REQUEST_VIEWS)
    feast_features(root / "features", rows, CANDIDATE_VIEWS)


def pandas_merge(root: Path) -> None:
    """The rules as they are said, in pandas: all earlier rows of a key, of which the newest is kept."""
    rows = _keyed(_rows(root))
    rows["row"] = range(len(rows))
    for view, keys in VIEWS.items():
        table = pd.read_parquet(root / "features" / f"{view}.parquet")
        pairs = rows[["row", *keys, "timestamp"]].merge(table, on=list(keys))
        pairs = pairs[pairs["event_timestamp"] <= pairs["timestamp"]].sort_values("event_timestamp")
        newest = pairs.drop_duplicates("row", keep="last")
        stored = [f.name for f in stored_features(view) if f.name not in rows]
        rows = rows.merge(newest[["row", *stored]], on="row", how="left")
    rows.to_parquet(root / "pandas.parquet")


def pandas_asof(root: Path) -> None:
    """The same by pandas' own merge_asof."""
    rows = _keyed(_rows(root)).sort_values("timestamp")
    for view, keys in VIEWS.items():
        table = pd.read_parquet(root / "features" / f"{view}.parquet").sort_values("event_timestamp")
        table = table.drop(columns=[name for name in table if name in rows and name not in keys])
        rows = pd.merge_asof(rows, table, left_on="timestamp", right_on="event_timestamp", by=list(keys))
        rows = rows.drop(columns="event_timestamp")
    rows.to_parquet(root / "pandas.parquet")


def _rows(root: Path) -> pd.DataFrame:
    rows = pd.read_parquet(root / "samples" / "samples.parquet")
    items = pd.read_parquet(root / "log" / "items.parquet")
    return rows.merge(items.drop(columns=["market", *(c for c in items if c in _ROW and c != "item_id")]), on="item_id")


def _keyed(rows: pd.DataFrame) -> pd.DataFrame:
    distinct = rows[["market", "query"]].drop_duplicates()
    keys = [query_key(*pair) for pair in zip(distinct["market"], distinct["query"], strict=True)]
    return rows.merge(distinct.assign(query_key=keys), on=["market", "query"])


# Merging needs more memory than there is at the largest.
OTHER_JOINS: dict[float, tuple[Callable[[Path], None], ...]] = {
    0.4: (feast_join, pandas_merge, pandas_asof),
    1.35: (feast_join, pandas_merge, pandas_asof),
    13.5: (feast_join, pandas_asof),
}


def measured_alone(stage: Callable[[Path], None], root: Path) -> dict[str, float]:
    """Seconds, processor seconds and peak MB of a function, in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_measure, stage, root).result()


def _measure(stage: Callable[[Path], None], root: Path) -> dict[str, float]:
    configure()
    wall, processor = time.perf_counter(), time.process_time()
    stage(root)
    return {
        "seconds": round(time.perf_counter() - wall, 2),
        "cpu_seconds": round(time.process_time() - processor, 2),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


def size(root: Path, scale: float) -> dict[str, Any]:
    """One size: its rows, and what each stage took."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        pool.submit(write_world, root, scale).result()
    stages = {stage.__name__: measured_alone(stage, root) for stage in (samples, features, join)}
    joined = read_manifest(root / "training_set")["metrics"]
    return {
        "candidates": read_manifest(root / "log")["metrics"]["rows"]["candidates"],
        "requests": joined["requests"],
        "samples": joined["rows"],
        "stages": stages,
    }


def main() -> None:
    """Measure, and keep each figure as soon as it is there: a run that is cut off loses the largest joins alone."""
    result: dict[str, Any] = {
        "command": "python -m tests.bench.bench_entire_space",
        "machine": machine(),
        "load_average": round(os.getloadavg()[0], 1),
        "simulated": True,
        "engine": ENGINE,
        "features": len(FEATURES),
        "sizes": [],
    }
    sizes: list[dict[str, Any]] = result["sizes"]
    with tempfile.TemporaryDirectory() as folder:
        roots = [Path(folder) / f"{scale:g}" for scale in SCALES]
        for scale, root in zip(SCALES, roots, strict=True):
            sizes.append(size(root, scale) | {"joins": {}})
            write_json(RESULTS / "entire-space.json", result)
        for scale, root, measured in zip(SCALES, roots, sizes, strict=True):
            for other in OTHER_JOINS[scale]:
                measured["joins"][other.__name__] = measured_alone(other, root)
                write_json(RESULTS / "entire-space.json", result)


if __name__ == "__main__":
    main()
