"""The training set as arrays: feature tensors, labels, and who each row belongs to.

Shape suffixes: N rows, R requests, F numeric features, C categorical features, S sequences, L sequence length, Y labels
(click, purchase).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.contracts.errors import BadInput
from components.contracts.features import (
    CATEGORICAL,
    NUMERIC,
    RELEVANCE_COLUMN,
    VIEWS,
    FeatureTensors,
    assemble,
    pad_sequences,
    stored_features,
)
from components.contracts.request_time import of_numbers, of_sequences
from components.contracts.schemas import SPLITS
from components.contracts.training_set import (
    TRAINING_SET,
    TrainingRows,
    checked_rows,
    read_training_rows,
    stated_features,
)
from components.ranking.config import Rows

_DOMAIN_COLUMN = [f.name for f in CATEGORICAL].index("domain_code")
_MICRO = 1_000_000
_LABELS = ("native_click", "native_purchase", "click", "purchase")


@dataclass(frozen=True)
class TrainingSet:
    """All samples of one run, in the file's order.

    Attributes:
        features: the model's inputs; sequences lie once for rows that share them, (R, S, L).
        sequence: int64 (N,), a row's place among them.
        table: identity columns (request_id, item_id, market, timestamp, split).
        market: str (N,).
        request: int64 (N,), equal where request_id is.
        domain: int64 (N,), codes of contracts.markets.DOMAIN_CODES.
        split: str (N,), train, valid or test.
        exposed: bool (N,), natively exposed in search: a native search request showed this item.
        position: float32 (N,), the place from 1 at which search showed it, NaN where it did not; no feature.
        native, entire: float32 (N, 2), click and purchase, native and entire-space labels.
    """

    features: FeatureTensors
    sequence: np.ndarray
    table: pa.Table
    market: np.ndarray
    request: np.ndarray
    domain: np.ndarray
    split: np.ndarray
    exposed: np.ndarray
    position: np.ndarray
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
        BadInput: unreadable, a column missing, a rule of SAMPLES broken, an infinite numeric, or a split whose native
            search exposures have no click (or nothing else).
    """
    path = directory / TRAINING_SET
    rows = checked_rows(read_training_rows(path), markets, str(path))
    features, sequence = _features(rows, markets, str(path))
    _check(path, features)
    request = rows.requests["request_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    market, domain, split = (_strings(rows, name) for name in ("market", "domain", "split"))
    labels = {name: _floats(rows.candidates[name]) for name in _LABELS}
    exposed = (_floats(rows.candidates["exposed"]) > 0) & (domain == "search")
    for name in SPLITS:
        clicked = labels["native_click"][exposed & (split == name)] > 0
        if clicked.all() or not clicked.any():  # of none at all, too
            raise BadInput(
                f"{path}: split {name} needs native search exposures with and without a click; "
                f"{int(clicked.sum())} of {len(clicked)} have one"
            )
    return TrainingSet(
        features=features,
        sequence=sequence,
        table=rows.table(["request_id", "item_id", "market", "timestamp", "split"]),
        market=market,
        request=request.astype(np.int64)[rows.request],
        domain=features.categorical[:, _DOMAIN_COLUMN],
        split=split,
        exposed=exposed,
        position=_floats(rows.candidates["position"]),
        native=np.stack([labels["native_click"], labels["native_purchase"]], axis=1),
        entire=np.stack([labels["click"], labels["purchase"]], axis=1),
    )


def _features(rows: TrainingRows, markets: tuple[str, ...], where: str) -> tuple[FeatureTensors, np.ndarray]:
    """The model's inputs, and each row's place among the sequences."""
    stated = stated_features(rows.requests, markets, where)

    def values(name: str) -> np.ndarray:
        if name in rows.candidates.column_names:
            return np.asarray(rows.candidates[name].to_numpy())
        column = stated.get(name)
        own = rows.requests[name] if column is None else column
        return np.asarray(np.asarray(own.to_numpy())[rows.request])

    stored = stored_features()
    lists = {c.name: _padded(rows.requests[c.name]) for c in stored if c.kind == "sequence"}
    numbers = {c.name: values(c.name) for c in stored if c.kind not in ("sequence", "text")}
    moments = rows.requests["timestamp"].cast(pa.timestamp("us")).cast(pa.int64()).to_numpy()
    at_s = moments // _MICRO
    sequences = of_sequences(lists, at_s)
    of_request = {name: column[rows.request] for name, column in sequences.items() if column.ndim == 1}
    numbers |= of_numbers(numbers, at_s[rows.request]) | {name: values(name) for name in stated} | of_request
    return assemble(sequences | numbers), rows.request


def _padded(column: pa.ChunkedArray) -> np.ndarray:
    """(N, L) from a column of lists, whole columns at a time; null lists are empty."""
    lists = column.combine_chunks()
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy().astype(np.int64)
    starts = lists.offsets.to_numpy()[:-1].astype(np.int64)
    return pad_sequences(pc.fill_null(lists.values, 0).to_numpy(), starts, lengths)


def _check(path: Path, features: FeatureTensors) -> None:
    # What follows from stored values is as finite as they are.
    infinite = np.isinf(features.numeric) & np.array([feature.view in VIEWS for feature in NUMERIC])
    if infinite.any():
        row, column = np.argwhere(infinite)[0]
        raise BadInput(
            f"{path}: column {NUMERIC[column].name}: infinite in {int(infinite.any(1).sum())} rows (first: {row})"
        )


def _strings(rows: TrainingRows, name: str) -> np.ndarray:
    """A request's column (N,)."""
    return np.asarray(np.asarray(rows.requests[name].to_numpy(), dtype=np.str_)[rows.request])


def _floats(column: pa.ChunkedArray) -> np.ndarray:
    return np.asarray(column.cast(pa.float32()).to_numpy())
