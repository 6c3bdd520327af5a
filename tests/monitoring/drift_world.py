"""Small datasets in the shape the monitoring stage reads, with drift where a test wants it. All values are made up."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from components.contracts.features import CATEGORICAL, NUMERIC, SEQUENCES
from components.contracts.tables import write_table
from components.contracts.tools.manifest import write_manifest
from components.contracts.training_set import TRAINING_SET
from components.monitoring.config import MonitoringConfig
from tests.training_rows import write_rows

AS_OF = datetime(2026, 1, 1, tzinfo=UTC)
MARKETS = ("TH", "VN")
DIM = 8
# As on the laptop: 28 days of log, of which 4 are history.
FIRST_TRAINING_DAY, VALID_DAY, TEST_DAY = -24, -5, -3
CONFIG = MonitoringConfig(draws=5000)


def shopping(
    rows: Mapping[str, int] | None = None,
    shift: Mapping[str, float] | None = None,
    missing: Mapping[str, float] | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """A training set: `rows` a market, evenly over time.

    From validation on, a market's features move up by its `shift` (in standard deviations) and a share `missing` of its
    relevance values is absent.
    """
    frames = [
        _market(market, count, (shift or {}).get(market, 0), (missing or {}).get(market, 0), seed + number)
        for number, (market, count) in enumerate((rows or dict.fromkeys(MARKETS, 6000)).items())
    ]
    return pd.concat(frames, ignore_index=True)


def _market(market: str, count: int, shift: float, missing: float, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    day = np.sort(rng.uniform(FIRST_TRAINING_DAY, 0, count))
    day = day[(day < VALID_DAY - 3) | (day >= VALID_DAY)]
    n = len(day)
    late = day >= VALID_DAY
    user, item, query = rng.integers(0, 150, n), rng.integers(0, 80, n), rng.integers(0, 40, n)
    columns: dict[str, Any] = {
        "request_id": [f"{market}-r{i}" for i in range(n)],
        "user_id": [f"{market}-u{i}" for i in user],
        "item_id": [f"{market}-i{i}" for i in item],
        "market": market,
        "domain": "search",
        "query": [f"query {i}" for i in query],
        "timestamp": pd.to_datetime([AS_OF + timedelta(days=d) for d in day]).as_unit("us"),
        "exposed": np.int8(1),
        "native_click": (rng.random(n) < 0.2).astype(np.int8),
        "split": np.where(day < VALID_DAY, "train", np.where(day < TEST_DAY, "valid", "test")),
    }
    for feature in NUMERIC:
        values = rng.normal(size=n) + shift * late
        columns[feature.name] = (np.exp(values) if feature.name.endswith("d") else values).astype(np.float32)
    columns["relevance"] = np.where(late & (rng.random(n) < missing), np.nan, columns["relevance"]).astype(np.float32)
    for feature in CATEGORICAL:
        columns[feature.name] = np.minimum(rng.geometric(0.3, n) + (rng.random(n) < shift) * late * 3, 15)
    for feature in SEQUENCES:
        columns[feature.name] = [[1, 2]] * n
    return pd.DataFrame(columns)


def write_items(root: Path) -> Path:
    """A log of items alone."""
    ids = [f"{market}-i{i}" for market in MARKETS for i in range(300)]
    rng = np.random.default_rng(3)
    items = pd.DataFrame({"item_id": ids, "market": [i[:2] for i in ids], "title": [f"Item {i}" for i in ids]})
    items = items.assign(category=rng.choice(["a", "b"], len(ids)), price=rng.lognormal(5, 1, len(ids)), brand="b")
    write_table(pa.Table.from_pandas(items, preserve_index=False), root / "items.parquet")
    write_manifest(root, "log", {}, {}, simulated=True, markets=list(MARKETS))
    return root


def write_training_set(rows: pd.DataFrame, root: Path) -> Path:
    """The training set directory of rows."""
    write_rows(pa.Table.from_pandas(rows, preserve_index=False), root / TRAINING_SET)
    write_manifest(root, "training_set", {}, {}, simulated=True, markets=list(MARKETS))
    return root


def write_encodings(rows: pd.DataFrame, root: Path) -> Path:
    """Encodings of rows' titles, queries and pairs: random vectors that know nothing of a time."""
    rng = np.random.default_rng(1)
    pairs = rows[["market", "query", "item_id"]].drop_duplicates()
    titles, queries = rows[["item_id"]].drop_duplicates(), rows[["market", "query"]].drop_duplicates()
    write_table(pa.Table.from_pandas(pairs, preserve_index=False), root / "pairs.parquet")
    np.save(root / "e5-small.npy", rng.normal(size=(len(pairs), DIM)).astype(np.float32))
    for name, frame in (("title", titles), ("query", queries)):
        vectors = list(rng.normal(size=(len(frame), DIM)).astype(np.float32))
        write_table(
            pa.Table.from_pandas(frame.assign(vector=vectors), preserve_index=False), root / f"{name}_vectors.parquet"
        )
    write_manifest(root, "encodings", {"experts": [{"name": "e5-small"}]}, {})
    return root


def write_ranker(rows: pd.DataFrame, root: Path, test_logit: float = 0.0) -> Path:
    """A ranker's predictions on every row; on test rows they are higher by `test_logit`."""
    logit = np.random.default_rng(2).normal(-2, 1, len(rows)) + test_logit * (rows["split"] == "test")
    predictions = rows[["request_id", "item_id", "market", "timestamp", "split"]].assign(
        p_click=1 / (1 + np.exp(-logit)), score=1 / (1 + np.exp(-2 * logit))
    )
    write_table(pa.Table.from_pandas(predictions, preserve_index=False), root / "predictions.parquet")
    write_manifest(root, "ranker", {}, {})
    return root


def read(out: Path) -> dict[str, Any]:
    """drift.json of a drift directory."""
    return json.loads((out / "drift.json").read_text())
