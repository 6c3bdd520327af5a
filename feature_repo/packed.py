"""Pairs packed by the half of their key that a request states: one online row holds all of a user's or of a query's.

A search reads one row where it would read one per candidate. The point-in-time join has no use for it: its views stay
keyed by pairs. Pairs that a row of unknown values would describe as well are left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.contracts.features import REQUEST_KEYS, VIEWS, Feature, stored_features

# Key of the request -> name of the packed view.
NAMES: Mapping[str, str] = {"user_id": "user_pairs", "query_key": "query_pairs"}
# Views that are packed: of the request key that their own begins with.
PACKED: Mapping[str, str] = {
    view: keys[0]
    for view, keys in VIEWS.items()
    if len(keys) == 2 and keys[0] in REQUEST_KEYS and keys[1] not in REQUEST_KEYS
}


@dataclass(frozen=True)
class Column:
    """One list column of a packed view: the other key of a view's pairs (feature None), or one of its features.

    Attributes:
        view: whose pairs.
        feature: the feature, float32; None for the key, text.
    """

    view: str
    feature: Feature | None = None

    @property
    def name(self) -> str:
        """Its name: the feature's, or the view's and the key's."""
        return self.feature.name if self.feature else f"{self.view}_{VIEWS[self.view][1]}"


def columns(request_key: str) -> tuple[Column, ...]:
    """Columns of the packed view of a request key."""
    return tuple(
        Column(view, feature)
        for view, key in PACKED.items()
        if key == request_key
        for feature in (None, *packed_features(view))
    )


def packed_features(view: str) -> tuple[Feature, ...]:
    """Features of a view of pairs."""
    return tuple(f for f in stored_features(view) if isinstance(f, Feature))


def pack(tables: Path, out: Path) -> None:
    """Write `out`/<name>.parquet of each packed view from the tables of pairs, which hold one row per key.

    Columns: the request's key, lists (`columns`), and event_timestamp, the newest of the key's rows.
    """
    for request_key, name in NAMES.items():
        views = {view: _grouped(tables, view) for view, key in PACKED.items() if key == request_key}
        keys = pa.concat_arrays([rows[request_key].combine_chunks() for rows in views.values()]).unique().sort()
        packed: dict[str, pa.Array | pa.ChunkedArray] = {request_key: keys}
        newest = []
        for rows in views.values():
            of_key = rows.take(pc.index_in(keys, rows[request_key]))
            newest.append(of_key["event_timestamp"])
            packed |= {column: of_key[column] for column in rows.column_names if column not in packed}
        del packed["event_timestamp"]
        latest = pc.max_element_wise(*(times.cast(pa.int64()) for times in newest))  # has no kernel for times
        packed["event_timestamp"] = latest.cast(newest[0].type)
        pq.write_table(pa.table(packed), out / f"{name}.parquet")


def _grouped(tables: Path, view: str) -> pa.Table:
    """A view's pairs as one row per request key; its newest time counts pairs that are left out, too."""
    request_key, other = VIEWS[view]
    rows = pq.read_table(tables / f"{view}.parquet").sort_by(request_key)
    features = packed_features(view)
    kept = np.zeros(rows.num_rows, dtype=bool)
    for feature in features:
        values = rows[feature.name].to_numpy()
        kept |= ~(np.isnan(values) | (values == feature.unknown))
    starts = np.flatnonzero(_begins(rows[request_key]))
    offsets = pa.array(np.concatenate([[0], np.cumsum(kept)])[[*starts, rows.num_rows]], pa.int32())
    times = rows["event_timestamp"]
    newest = np.maximum.reduceat(times.cast(pa.int64()).to_numpy(), starts) if len(starts) else np.empty(0)
    lists = {Column(view).name: rows[other], **{f.name: rows[f.name] for f in features}}
    chosen = pa.array(kept)
    return pa.table(
        {
            request_key: rows[request_key].take(pa.array(starts)),
            "event_timestamp": pa.array(newest, pa.int64()).cast(times.type),
            **{n: pa.ListArray.from_arrays(offsets, v.filter(chosen).combine_chunks()) for n, v in lists.items()},
        }
    )


def _begins(keys: pa.ChunkedArray) -> np.ndarray:
    """Where in sorted keys another one begins."""
    codes = keys.combine_chunks().dictionary_encode().indices.to_numpy()
    return np.asarray(np.diff(codes, prepend=-1) != 0)
