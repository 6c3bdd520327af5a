"""What it costs to read one search's features from a server's own store and make tensors of them.

    python -m tests.bench.bench_online_features

Simulated data, two markets, an SQLite store; every query's items have a stored relevance. Items were read before, as
they are in a server that runs (`serving.transformer.item_rows`).
"""

import json
import os
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from components.contracts.features import FEATURES, assemble
from components.contracts.tables import write_table
from components.contracts.text import normalise_query, query_key
from components.contracts.tools.manifest import write_manifest
from components.features.config import FeaturesConfig
from components.features.latest import latest_slice
from components.features.tables import build_feature_tables
from components.marketplace.config import MarketplaceConfig
from components.marketplace.simulator.simulate import simulate
from serving.transformer.online_store import OnlineFeatures, build_online_store
from tests.bench.measured import machine
from tests.release.tiny_release import AS_OF

MARKETS = ("ID", "TH")
ITEMS = (50, 1000)
READS = 400
_WORLD = MarketplaceConfig(
    markets=MARKETS, items=1200, users=200, queries=20, search_requests=1000, rec_requests=300, shop_requests=300
)


def build(root: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A store in `root`/state; its log's items and searches."""
    simulate(_WORLD, AS_OF, root / "log")
    requests = pq.read_table(root / "log" / "requests.parquet").to_pandas().dropna(subset=["query"])
    items = pq.read_table(root / "log" / "items.parquet", columns=["item_id", "market"]).to_pandas()
    requests["query"] = requests["query"].map(normalise_query)
    pairs = requests[["market", "query"]].drop_duplicates().merge(items, on="market")
    scores = pa.Table.from_pandas(pairs[["market", "query", "item_id"]], preserve_index=False)
    scores = scores.append_column("relevance", pa.array(np.full(len(pairs), 0.5, np.float32)))
    scores = scores.append_column("experts", pa.array([[0, 1]] * len(pairs), pa.list_(pa.int64())))
    write_table(scores, root / "scores" / "scores.parquet")
    write_manifest(root / "scores", "scores", {}, {})
    build_feature_tables(root / "log", root / "scores", FeaturesConfig(), AS_OF, root / "features")
    latest_slice(root / "features", AS_OF, root / "latest")
    build_online_store(root / "latest", root / "state")
    return items, requests


def measure(root: Path) -> dict[str, Any]:
    """CPU milliseconds of `read` and `assemble` for a search of so many items."""
    items, requests = build(root)
    online = OnlineFeatures(root / "state")
    by_market = items.groupby("market")["item_id"].apply(list)
    asked = random.Random(0).choices(list(requests[["market", "user_id", "query"]].itertuples(index=False)), k=READS)
    for market, ids in by_market.items():
        online.read("nobody", 0, query_key(market, "?"), ids)
    result: dict[str, Any] = {"features": len(FEATURES)}
    for count in ITEMS:
        seconds = []
        for market, user, query in asked:
            started = time.thread_time()
            assemble(online.read(user, MARKETS.index(market), query_key(market, query), by_market[market][:count])[0])
            seconds.append(time.thread_time() - started)
        p50, p99 = np.percentile(seconds, [50, 99]) * 1000
        result[str(count)] = {"p50_cpu_ms": round(float(p50), 3), "p99_cpu_ms": round(float(p99), 3)}
    return result


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="bench-features-") as scratch:
        found = measure(Path(scratch))
    result = {
        "command": "python -m tests.bench.bench_online_features",
        "machine": machine(),
        "load_average": round(os.getloadavg()[0], 1),
        "simulated": True,
        **found,
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
