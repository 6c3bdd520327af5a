"""Synthetic rows for the ranking tests: random features, and a small learnable world on disk."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from components.contracts.features import (
    CATEGORICAL,
    NUMERIC,
    SEQUENCE_LENGTH,
    SEQUENCES,
    FeatureTensors,
)
from components.contracts.markets import DOMAINS
from components.contracts.tables import write_table
from components.contracts.tools.manifest import write_manifest
from components.contracts.training_set import TRAINING_SET
from tests.training_rows import write_rows

CATEGORICAL_COLUMN = {f.name: i for i, f in enumerate(CATEGORICAL)}
MARKETS = ("ID", "MY", "PH")
_PER_REQUEST = 8


def random_features(rows: int, seed: int = 0) -> FeatureTensors:
    """Features of the contract's types and ranges; a tenth of the numerics unknown, sequences of any length."""
    rng = np.random.default_rng(seed)
    numeric = rng.lognormal(size=(rows, len(NUMERIC))).astype(np.float32)
    numeric[rng.random(numeric.shape) < 0.1] = np.nan
    categorical = np.stack([rng.integers(0, f.buckets, rows) for f in CATEGORICAL], axis=1)
    categorical[:, CATEGORICAL_COLUMN["domain_code"]] = rng.integers(0, len(DOMAINS), rows)
    sequences = np.stack([rng.integers(1, f.buckets, (rows, SEQUENCE_LENGTH)) for f in SEQUENCES], axis=1)
    length = rng.integers(0, SEQUENCE_LENGTH + 1, (rows, 1, 1))
    return FeatureTensors(numeric, categorical, np.where(np.arange(SEQUENCE_LENGTH) < length, sequences, 0))


def write_world(root: Path, requests: int = 600, seed: int = 0) -> tuple[Path, Path]:
    """Write a training set and the log it came from; returns their directories.

    A click depends on relevance, on whether the user clicked the item's category before, and on the item's price: all
    visible in the features. Every request has 8 rows; in training requests of search half of them are unexposed.
    """
    rng = np.random.default_rng(seed)
    rows = requests * _PER_REQUEST
    request = np.repeat(np.arange(requests), _PER_REQUEST)
    split = np.array(["train", "valid", "test"])[np.searchsorted([0.6, 0.8], rng.random(requests))][request]
    domain = np.where(split == "train", rng.integers(0, len(DOMAINS), requests)[request], 0)
    market = rng.integers(0, len(MARKETS), requests)[request]
    exposed = (domain == 0) & ((split != "train") | (np.arange(rows) % 2 == 0))
    features = random_features(rows, seed)
    item = np.argsort(rng.random((requests, 199)), axis=1)[:, :_PER_REQUEST].ravel() + 1
    category = item % 20 + 1
    liked = rng.integers(1, 21, (requests, SEQUENCE_LENGTH))[request]
    relevance = rng.random(rows)
    price = rng.normal(size=rows)
    familiar = (liked[:, :5] == category[:, None]).any(1)
    utility = 4 * relevance + 2 * familiar - price - 3 + 0.5 * (domain == 1)
    click = (rng.random(rows) < 1 / (1 + np.exp(-utility))).astype(np.int8)
    purchase = (click * (rng.random(rows) < 0.3)).astype(np.int8)
    native = (exposed * click).astype(np.int8)

    columns: dict[str, object] = {
        "request_id": [f"r{i}" for i in request],
        "user_id": [f"u{i}" for i in request],
        "item_id": [f"i{i}" for i in item],
        "market": np.array(MARKETS)[market],
        "domain": np.array(DOMAINS)[domain],
        "query": ["query"] * rows,
        "timestamp": pa.array([datetime(2026, 1, 1, tzinfo=UTC)] * rows, pa.timestamp("us", tz="UTC")),
        "exposed": exposed.astype(np.int8),
        "native_click": native,
        "native_purchase": (native * purchase).astype(np.int8),
        "click": click,
        "purchase": purchase,
        "label_source": np.where(exposed, "native", np.where(domain == 0, "attributed", "searchified")),
        "query_source": ["native"] * rows,
        "split": split,
        "user_known": [True] * rows,
    }
    columns |= {f.name: features.numeric[:, i] for i, f in enumerate(NUMERIC)}
    columns |= {f.name: features.categorical[:, i] for i, f in enumerate(CATEGORICAL)}
    columns |= {f.name: pa.nulls(rows, pa.list_(pa.int64())) for f in SEQUENCES}
    columns |= {
        "relevance": np.where(rng.random(rows) < 0.05, np.nan, relevance).astype(np.float32),
        "price_log": price.astype(np.float32),
        "category_bucket": category,
        "clicked_items": pa.array(list(liked[:, :5] * 7)),
        "clicked_categories": pa.array(list(liked[:, :5])),
    }
    training_set, log = root / "training_set", root / "log"
    write_rows(pa.table(columns), training_set / TRAINING_SET)
    write_manifest(training_set, "training_set", config={}, inputs={})
    searched = (domain == 0) & (split == "test")
    oracle = {name: pa.array(columns[name]).filter(pa.array(searched)) for name in ("request_id", "item_id")}
    truth = utility[searched].astype(np.float32)
    oracle |= {"utility": truth, "click_chance": 1 / (1 + np.exp(-truth))}
    write_table(pa.table(oracle), log / "oracle.parquet")
    write_manifest(log, "log", config={}, inputs={}, simulated=True, markets=list(MARKETS))
    return training_set, log
