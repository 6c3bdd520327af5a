"""The training set as arrays: feature tensors, labels, and who each row belongs to.

Shape suffixes: N rows, F numeric features, C categorical features, S sequences, L sequence length, Y labels
(click, purchase).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.contracts.errors import BadInput
from components.contracts.features import (
    CATEGORICAL,
    FEATURES,
    NUMERIC,
    RELEVANCE_COLUMN,
    FeatureTensors,
    assemble,
    pad_sequences,
)
from components.contracts.markets import DOMAIN_CODES
from components.contracts.schemas import SAMPLES, SPLITS
from components.contracts.tables import Limits, read_table
from components.ranking.config import Rows

_DOMAIN_COLUMN = [f.name for f in CATEGORICAL].index("domain_code")
TRAINING_SET = "training_set.parquet"


@dataclass(frozen=True)
class TrainingSet:
    """All samples of one run, in the file's order.

    Attributes:
        features: the model's inputs.
        table: identity columns (sample_id, request_id, item_id, market, timestamp, split).
        market: str (N,).
        request: int64 (N,), equal where request_id is.
        domain: int64 (N,), codes of contracts.markets.DOMAIN_CODES.
        split: str (N,), train, valid or test.
        exposed: bool (N,), natively exposed in search: a native search request showed this item.
        native, entire: float32 (N, 2), click and purchase, native and entire-space labels.
    """

    features: FeatureTensors
    table: pa.Table
    market: np.ndarray
    request: np.ndarray
    domain: np.ndarray
    split: np.ndarray
    exposed: np.ndarray
    native: np.ndarray
    entire: np.ndarray

    @property
    def relevance(self) -> np.ndarray:
        """Stored relevance, float32 (N,), NaN where unknown."""
        return np.asarray(self.features.numeric[:, RELEVANCE_COLUMN])

    def rows(self, split: str, kind: Rows) -> np.ndarray:
        """Indices of a split's rows: native search exposures, or every ES3 sample."""
        chosen = self.split == split
        return np.flatnonzero(chosen & self.exposed if kind == "exposed" else chosen)

    def labels(self, kind: Rows) -> np.ndarray:
        """Labels (N, 2) that go with a kind of rows: native ones with native exposures."""
        return self.native if kind == "exposed" else self.entire


def read_training_set(directory: Path, markets: tuple[str, ...]) -> TrainingSet:
    """Read and check `directory/training_set.parquet`.

    Raises:
        BadInput: unreadable, a column missing, a rule of SAMPLES broken, an infinite numeric, a domain_code that is not
            the domain's, or a split whose native search exposures have no click (or nothing else).
    """
    path = directory / TRAINING_SET
    table = read_table(path, SAMPLES, Limits(markets=markets))
    missing = [f.name for f in FEATURES if f.name not in table.column_names]
    if missing:
        raise BadInput(f"{path}: missing feature column {', '.join(missing)} in {table.num_rows} rows")
    features = assemble({f.name: _feature(table[f.name], f.kind) for f in FEATURES})
    domain = pc.index_in(table["domain"], pa.array(list(DOMAIN_CODES))).to_numpy().astype(np.int64)
    split = _strings(table["split"])
    exposed = (_floats(table["exposed"]) > 0) & (domain == DOMAIN_CODES["search"])
    _check(path, features, domain)
    for name in SPLITS:
        clicked = _floats(table["native_click"])[exposed & (split == name)] > 0
        if clicked.all() or not clicked.any():  # of none at all, too
            raise BadInput(
                f"{path}: split {name} needs native search exposures with and without a click; "
                f"{int(clicked.sum())} of {len(clicked)} have one"
            )
    return TrainingSet(
        features=features,
        table=table.select(["sample_id", "request_id", "item_id", "market", "timestamp", "split"]),
        market=_strings(table["market"]),
        request=table["request_id"].combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64),
        domain=domain,
        split=split,
        exposed=exposed,
        native=np.stack([_floats(table["native_click"]), _floats(table["native_purchase"])], axis=1),
        entire=np.stack([_floats(table["click"]), _floats(table["purchase"])], axis=1),
    )


def _feature(column: pa.ChunkedArray, kind: str) -> Any:
    if kind == "sequence":
        return _padded(column)
    return column.cast(pa.float64()).to_numpy()


def _padded(column: pa.ChunkedArray) -> np.ndarray:
    """(N, L) from a column of lists, whole columns at a time; null lists are empty."""
    lists = column.combine_chunks()
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy().astype(np.int64)
    starts = lists.offsets.to_numpy()[:-1].astype(np.int64)
    return pad_sequences(pc.fill_null(lists.values, 0).to_numpy(), starts, lengths)


def _check(path: Path, features: FeatureTensors, domain: np.ndarray) -> None:
    infinite = np.isinf(features.numeric)
    if infinite.any():
        row, column = np.argwhere(infinite)[0]
        raise BadInput(
            f"{path}: column {NUMERIC[column].name}: infinite in {int(infinite.any(1).sum())} rows (first: {row})"
        )
    wrong = features.categorical[:, _DOMAIN_COLUMN] != domain
    if wrong.any():
        raise BadInput(f"{path}: column domain_code: not the code of column domain in {int(wrong.sum())} rows")


def _strings(column: pa.ChunkedArray) -> np.ndarray:
    return np.asarray(column.to_numpy(), dtype=np.str_)


def _floats(column: pa.ChunkedArray) -> np.ndarray:
    return np.asarray(column.cast(pa.float32()).to_numpy())
