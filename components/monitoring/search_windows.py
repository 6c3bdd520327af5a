"""What search drift compares: exposed native search rows of an earlier window with those of the evaluation days.

The current window is validation and test together. The reference window is the current one moved back by whole weeks
(`reference_shift_days`) into the training days: as long, with the same weekdays, and late enough for 7-day counts to be
full. Only exposed search rows count, whatever their label: evaluation windows hold no others.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from components.contracts.errors import BadInput
from components.contracts.features import CATEGORICAL, NUMERIC, Feature
from components.contracts.tables import read_columns
from components.contracts.text import query_key
from components.contracts.tools.manifest import read_manifest
from components.contracts.training_set import TRAINING_SET, read_training_rows
from components.monitoring.config import MonitoringConfig
from components.monitoring.embeddings import Vectors
from components.monitoring.windows import ColumnSpec

_ENTITY_OF_GROUP = {"user": "user_id", "item": "item_id", "query": "query_key"}
# All items of a category share its counts; the training set names it by its code.
_ENTITY_OF_VIEW = {"category_stats": "category_bucket"}
_KEY = ["request_id", "item_id"]
_ROW_COLUMNS = [*_KEY, "user_id", "market", "query", "timestamp", "split", "native_click"]
# A user's hash bucket is the user: its distribution cannot be told from who happened to search. What follows from the
# request's own time, such as an age, moves as time goes.
_FEATURES = [f for f in (*NUMERIC, *CATEGORICAL) if f.view != "request" and f.name != "user_bucket"]


@dataclass(frozen=True)
class SearchWindows:
    """Rows of both windows (training-set columns and query_key), and days of log before the reference window."""

    reference: pd.DataFrame
    current: pd.DataFrame
    history_days: float

    def describe(self) -> dict[str, str]:
        """What each window is, for people."""
        return {"reference": _span(self.reference), "current": _span(self.current)}


def read_windows(training_set: Path, config: MonitoringConfig) -> SearchWindows:
    """Read both windows of a training set.

    Raises:
        BadInput: the file is unreadable, lacks a column or has no evaluation rows.
    """
    path = training_set / TRAINING_SET
    columns = [*_ROW_COLUMNS, "domain", "exposed", *(f.name for f in _FEATURES)]
    table = read_training_rows(path, columns).table(columns)
    first_row = pc.min(table["timestamp"]).as_py()
    searched = table.filter(pc.and_(pc.equal(table["domain"], "search"), pc.equal(table["exposed"], 1)))
    rows = searched.drop_columns(["domain", "exposed"]).to_pandas()
    current = rows[rows["split"] != "train"]
    if current.empty:
        raise BadInput(f"{path}: no exposed search rows in the splits valid and test ({table.num_rows} rows in all)")
    shift = timedelta(days=config.reference_shift_days)
    start, end = current["timestamp"].min() - shift, current["timestamp"].max() - shift
    reference = rows[(rows["split"] == "train") & rows["timestamp"].between(start, end)]
    history = (start - first_row) / timedelta(days=1) + config.history_days
    return SearchWindows(_with_query_key(reference), _with_query_key(current), history)


def feature_specs(history_days: float) -> list[ColumnSpec]:
    """How each feature and the label are compared.

    Counts over d days grow for the log's first d days; where the reference window begins earlier than that, they are
    expected to move. A windowed count belongs to its user, item, category or query and swaps with it; everything else
    depends on who searched for what, and swaps with the user.
    """
    return [*(_spec(feature, history_days) for feature in _FEATURES), _MARKET_MIX, _LABEL]


_MARKET_MIX = ColumnSpec("market", "categorical", entity="user_id")
_LABEL = ColumnSpec("native_click", "categorical", scope="label", entity="user_id")
PREDICTIONS = [
    ColumnSpec("p_click", "numeric", scope="prediction", entity="user_id"),
    ColumnSpec("score", "numeric", scope="prediction", entity="user_id"),
]


def read_predictions(ranker: Path, windows: SearchWindows) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Predictions on validation and on test rows: market, user_id, p_click, and the served score (the blend).

    The ranker never saw either; its predictions on training rows would differ from both.
    """
    predictions = read_columns(ranker / "predictions.parquet", [*_KEY, "split", "p_click", "score"]).to_pandas()
    seen = windows.current[[*_KEY, "market", "user_id"]].merge(predictions, on=_KEY)
    return seen[seen["split"] == "valid"], seen[seen["split"] == "test"]


def read_vectors(encodings: Path, windows: Mapping[str, pd.DataFrame]) -> list[Vectors]:
    """Title, query and pair vectors of the rows of two frames with market, query and item_id.

    Pair vectors are the first expert's.
    """
    pair_expert = _pair_expert(encodings)
    pairs = read_columns(encodings / "pairs.parquet", ["market", "query", "item_id"])
    return [
        _vectors("title", encodings / "title_vectors.parquet", ["item_id"], windows),
        _vectors("query", encodings / "query_vectors.parquet", ["market", "query"], windows),
        Vectors(
            f"pair ({pair_expert})",
            _row_numbers(pairs, ["market", "query", "item_id"], windows),
            np.load(encodings / f"{pair_expert}.npy", mmap_mode="r"),
        ),
    ]


def _vectors(name: str, path: Path, keys: list[str], windows: Mapping[str, pd.DataFrame]) -> Vectors:
    table = read_columns(path, [*keys, "vector"])
    flat = table["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return Vectors(name, _row_numbers(table, keys, windows), flat.reshape(table.num_rows, -1))


def _row_numbers(table: pa.Table, keys: list[str], windows: Mapping[str, pd.DataFrame]) -> dict[str, np.ndarray]:
    known = table.select(keys).to_pandas()
    known["row"] = np.arange(len(known))
    return {
        name: frame[keys].merge(known, on=keys, how="left")["row"].fillna(-1).to_numpy(dtype=np.int64)
        for name, frame in windows.items()
    }


def _pair_expert(encodings: Path) -> str:
    manifest = read_manifest(encodings)
    return str(manifest["config"]["experts"][0]["name"])


def _spec(feature: Feature, history_days: float) -> ColumnSpec:
    expected = ""
    if feature.window > history_days:
        expected = (
            f"counts {feature.window} days, and the log is {history_days:.0f} days old where the reference begins"
        )
    return ColumnSpec(
        feature.name,
        "categorical" if feature.kind == "categorical" else "numeric",
        entity=_ENTITY_OF_VIEW.get(feature.view, _ENTITY_OF_GROUP[feature.group]) if feature.window else "user_id",
        expected=expected,
    )


def _with_query_key(rows: pd.DataFrame) -> pd.DataFrame:
    distinct = rows[["market", "query"]].drop_duplicates()
    keys = [query_key(m, q) for m, q in zip(distinct["market"], distinct["query"], strict=True)]
    return rows.merge(distinct.assign(query_key=keys), on=["market", "query"], how="left")


def _span(rows: pd.DataFrame) -> str:
    if rows.empty:
        return "no rows"
    first, last = rows["timestamp"].min(), rows["timestamp"].max()
    return f"{_day(first)} to {_day(last)}, {len(rows):,} exposed search rows"


def _day(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%d %H:%M")
