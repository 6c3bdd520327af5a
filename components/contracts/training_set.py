"""The training set's file: a row for each request, its candidates nested.

What belongs to the request is written once: its own columns, its user's and query's features, sequences. Candidates
lie in list columns of equal lengths. What follows from other columns is not written: sample ids, codes of market and
domain, hashed ids of user and item, and what `request_time` makes of stored times. Pseudo requests may ask a query of
their own for a candidate, which has a row for itself.

Unknown features are written as models read them: NaN or 0, code 0, an empty sequence. Requests of one user lie together
in each part of a file, because that compresses best (tests/bench/bench_training_set.py).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.contracts.errors import BadInput
from components.contracts.features import CANDIDATE_VIEWS, FEATURES, REQUEST_VIEWS, Fact, Feature, stored_features
from components.contracts.markets import DOMAIN_CODES, market_codes
from components.contracts.schemas import SAMPLES, TableSchema
from components.contracts.tables import Limits, read_columns, validate, write_tables
from components.contracts.text import stable_bucket

TRAINING_SET = "training_set.parquet"
USER_KNOWN, ITEM_KNOWN = "user_known", "item_known"

# Features that are not written: feature -> the id whose bucket it is, and whether that is known.
_HASHED = {"user_bucket": ("user_id", USER_KNOWN), "item_bucket": ("item_id", ITEM_KNOWN)}
_ZSTD_LEVEL = 3

_OF_REQUEST = ("request_id", "user_id", "market", "domain", "query", "timestamp", "query_source", "split")
_DERIVED = ("sample_id",)


def _written(views: tuple[str, ...]) -> tuple[str, ...]:
    stored = (column for view in views for column in stored_features(view))
    return tuple(column.name for column in stored if column.kind != "text" and column.name not in _HASHED)


REQUEST_ROWS = TableSchema("requests of the training set", {name: SAMPLES.columns[name] for name in _OF_REQUEST})
CANDIDATE_ROWS = TableSchema(
    "candidates of the training set",
    {name: column for name, column in SAMPLES.columns.items() if name not in (*_OF_REQUEST, *_DERIVED)},
)
REQUEST_COLUMNS: tuple[str, ...] = (*REQUEST_ROWS.columns, USER_KNOWN, *_written(REQUEST_VIEWS))
CANDIDATE_COLUMNS: tuple[str, ...] = (*CANDIDATE_ROWS.columns, ITEM_KNOWN, *_written(CANDIDATE_VIEWS))
ALL_COLUMNS: tuple[str, ...] = (*REQUEST_COLUMNS, *CANDIDATE_COLUMNS, *_HASHED)
_COLUMN: dict[str, Feature | Fact] = {column.name: column for column in stored_features()}
_BUCKETS: dict[str, int] = {feature.name: feature.buckets for feature in FEATURES}
_TYPES: dict[str, pa.DataType] = {
    "numeric": pa.float32(),
    "categorical": pa.int32(),
    "sequence": pa.list_(pa.int32()),
    "time": pa.int64(),
}


@dataclass(frozen=True)
class TrainingRows:
    """Rows of a training set, in the file's order.

    Attributes:
        requests: R rows, some of REQUEST_COLUMNS.
        candidates: N rows, some of CANDIDATE_COLUMNS; those of a request lie together, in the order of requests.
        request: int64 (N,), the row of `requests` that a candidate belongs to.
    """

    requests: pa.Table
    candidates: pa.Table
    request: np.ndarray

    def column(self, name: str) -> pa.ChunkedArray:
        """A column of either, N rows."""
        if name in self.candidates.column_names:
            return self.candidates[name]
        return self.requests[name].take(pa.array(self.request))

    def table(self, names: Sequence[str]) -> pa.Table:
        """Some columns of both, N rows."""
        return pa.table({name: self.column(name) for name in names})


def write_training_set(parts: Iterable[tuple[pa.Table, pa.Table, np.ndarray]], path: Path) -> int:
    """Write parts end to end, one at a time; returns how many requests they have.

    Args:
        parts: requests (R rows of REQUEST_COLUMNS), candidates (N rows of CANDIDATE_COLUMNS, in the order of requests)
            and how many of them each request has, (R,).
        path: the file.
    """
    return write_tables((_nested(*part) for part in parts), path, _ZSTD_LEVEL)


def _nested(requests: pa.Table, candidates: pa.Table, sizes: np.ndarray) -> pa.Table:
    offsets = pa.array(np.concatenate([[0], np.cumsum(sizes)]), pa.int32())
    columns = {name: _stored(requests[name], name) for name in REQUEST_COLUMNS}
    for name in CANDIDATE_COLUMNS:
        values = _stored(candidates[name], name)
        if isinstance(values, pa.ChunkedArray):
            values = values.combine_chunks()
        columns[name] = pa.ListArray.from_arrays(offsets, values)
    return pa.table(columns)


def _stored(values: pa.ChunkedArray, name: str) -> pa.Array | pa.ChunkedArray:
    """A column in the file's type, what is unknown filled in features."""
    if name not in _COLUMN:
        return values
    column = _COLUMN[name]
    unknown: object = [] if column.kind == "sequence" else 0
    if isinstance(column, Feature) and column.kind == "numeric":
        unknown = column.unknown
    return pc.fill_null(values.cast(_TYPES[column.kind]), pa.scalar(unknown, _TYPES[column.kind]))


def read_training_rows(path: Path, columns: Sequence[str] = ALL_COLUMNS) -> TrainingRows:
    """Some columns of a training set, and those that they follow from.

    Raises:
        BadInput: unreadable, a column missing, or lists that differ in length.
    """
    # item_id says how many candidates a request has.
    asked = dict.fromkeys(["item_id", *(name for column in columns for name in _HASHED.get(column, (column,)))])
    table = read_columns(path, list(asked))
    sizes = _sizes(table["item_id"], "item_id", path)
    candidates = {}
    for name in (name for name in table.column_names if name in CANDIDATE_COLUMNS):
        if not np.array_equal(_sizes(table[name], name, path), sizes):
            raise BadInput(f"{path}: column {name}: other numbers of candidates than in column item_id")
        candidates[name] = pc.list_flatten(table[name])
    requests = {name: table[name] for name in table.column_names if name not in candidates}
    for feature in (name for name in columns if name in _HASHED):
        level = requests if _HASHED[feature][0] in requests else candidates
        ids, known = (level[name] for name in _HASHED[feature])
        level[feature] = _buckets(ids, known, _BUCKETS[feature])
    return TrainingRows(pa.table(requests), pa.table(candidates), np.repeat(np.arange(table.num_rows), sizes))


def _buckets(ids: pa.ChunkedArray, known: pa.ChunkedArray, buckets: int) -> pa.Array:
    """The code of each id, as feature tables have it; each distinct id is hashed once."""
    encoded = ids.combine_chunks().dictionary_encode()
    codes = stable_bucket(encoded.dictionary.to_pylist(), buckets)[encoded.indices.to_numpy()]
    return pa.array(np.where(known.to_numpy(), codes, 0), pa.int32())


def _sizes(lists: pa.ChunkedArray, name: str, path: Path) -> np.ndarray:
    if not pa.types.is_list(lists.type):
        raise BadInput(f"{path}: column {name}: {lists.type}, expected a list for each request")
    if lists.null_count:
        raise BadInput(f"{path}: column {name}: null in {lists.null_count} of {len(lists)} requests")
    return np.asarray(pc.list_value_length(lists).to_numpy())


def checked_rows(rows: TrainingRows, markets: Sequence[str], where: str) -> TrainingRows:
    """All rows, in the types of SAMPLES.

    Raises:
        BadInput: a rule of SAMPLES is broken.
    """
    limits = Limits(markets)
    requests = validate(rows.requests, REQUEST_ROWS, where, limits)
    return TrainingRows(requests, validate(rows.candidates, CANDIDATE_ROWS, where, limits), rows.request)


def stated_features(requests: Mapping[str, pa.ChunkedArray], markets: Sequence[str], where: str) -> dict[str, pa.Array]:
    """The features that a request states, from its columns `market` and `domain`: feature -> int64 values.

    Raises:
        BadInput: a market or domain that is not known.
    """
    known = {"market_code": ("market", market_codes(markets)), "domain_code": ("domain", DOMAIN_CODES)}
    return {
        feature: _codes(requests[name], codes, f"{where}: column {name}") for feature, (name, codes) in known.items()
    }


def _codes(names: pa.ChunkedArray, codes: Mapping[str, int], where: str) -> pa.Array:
    places = pc.index_in(names, value_set=pa.array(list(codes), pa.string()))
    if places.null_count:
        wrong = names.filter(pc.is_null(places))
        raise BadInput(
            f"{where}: {wrong[0].as_py()!r} in {len(wrong)} of {len(names)} rows is not one of {', '.join(codes)}"
        )
    return pc.take(pa.array(list(codes.values()), pa.int64()), places)
