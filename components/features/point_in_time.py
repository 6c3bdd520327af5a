"""The point-in-time join as Ibis expressions: what feature tables knew of a row at its time, on DuckDB or Spark.

A row of a feature table holds from its event_timestamp, that instant included, until the key's next row. So each row to
join has one match at most in a view, which is the newest that is not later: what Feast's get_historical_features gives.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import ibis

from components.contracts.engine import Engine
from components.contracts.errors import BadInput
from components.contracts.features import VIEWS, stored_features

_FOREVER = datetime(9999, 1, 1, tzinfo=UTC)
_TYPES = {"numeric": "float32", "categorical": "int64", "sequence": "array<int64>"}


def open_intervals(engine: Engine, features: Path, views: Sequence[str]) -> dict[str, ibis.Table]:
    """Each view's rows with `valid_from` and `valid_until`, computed once.

    Raises:
        BadInput: a view's file is missing.
    """
    absent = [f"{view}.parquet" for view in views if not (features / f"{view}.parquet").is_file()]
    if absent:
        raise BadInput(f"{features}: no file {', '.join(absent)}")
    return {
        view: engine.keep(f"{view}_intervals", _intervals(engine.scan(features / f"{view}.parquet"), view))
        for view in views
    }


def _intervals(table: ibis.Table, view: str) -> ibis.Table:
    by_key = ibis.window(group_by=VIEWS[view], order_by=table.event_timestamp)
    return table.select(
        *VIEWS[view],
        **{f.name: table[f.name].cast(_TYPES[f.kind]) for f in stored_features(view)},
        valid_from=table.event_timestamp,
        valid_until=table.event_timestamp.lead().over(by_key).coalesce(ibis.literal(_FOREVER)),
    )


def between(intervals: ibis.Table, first: datetime, last: datetime) -> ibis.Table:
    """The rows that hold at some instant from `first` to `last`, both included."""
    return intervals.filter(intervals.valid_from <= ibis.literal(last), intervals.valid_until > ibis.literal(first))


def with_features(rows: ibis.Table, view: str, intervals: ibis.Table) -> ibis.Table:
    """The rows, each once, with a view's features at `timestamp`; null where the view knows nothing of the row's key.

    Args:
        rows: with the view's keys and `timestamp`.
        view: its name.
        intervals: its rows (`open_intervals`).
    """
    same_key = [rows[key] == intervals[key] for key in VIEWS[view]]
    in_time = [rows.timestamp >= intervals.valid_from, rows.timestamp < intervals.valid_until]
    joined = rows.left_join(intervals, [*same_key, *in_time])
    return joined.select(
        *[rows[name] for name in rows.columns], **{f.name: intervals[f.name] for f in stored_features(view)}
    )
