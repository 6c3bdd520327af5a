"""The point-in-time join as Ibis expressions: what feature tables knew of a row at its time, on DuckDB or Spark.

A row of a feature table holds from its event_timestamp, that instant included, until the key's next row. So each row to
join has one match at most in a view, which is the newest that is not later: what Feast's get_historical_features gives.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import ibis

from components.contracts.engine import Engine
from components.contracts.errors import BadInput
from components.contracts.features import VIEWS, stored_features

_FOREVER = datetime(9999, 1, 1, tzinfo=UTC)


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
        *(f.name for f in stored_features(view)),
        valid_from=table.event_timestamp,
        valid_until=table.event_timestamp.lead().over(by_key).coalesce(ibis.literal(_FOREVER)),
    )


def between(intervals: ibis.Table, first: datetime, last: datetime) -> ibis.Table:
    """The rows that hold at some instant from `first` to `last`, both included."""
    return intervals.filter(intervals.valid_from <= ibis.literal(last), intervals.valid_until > ibis.literal(first))


def with_features(rows: ibis.Table, views: Mapping[str, ibis.Table]) -> ibis.Table:
    """The rows, each once, with what views know at `timestamp`; null where a view knows nothing of the row's key.

    Args:
        rows: with `timestamp` and the keys of the views. A view may be keyed by what another one stores, too, such as
            an item's category: it is joined after that.
        views: view -> its rows (`open_intervals`).
    """
    for view in sorted(views, key=lambda view: not set(VIEWS[view]) <= set(rows.columns)):
        own = views[view]
        same_key = [rows[key] == own[key] for key in VIEWS[view]]
        in_time = [rows.timestamp >= own.valid_from, rows.timestamp < own.valid_until]
        joined = rows.left_join(own, [*same_key, *in_time])
        stored = {f.name: own[f.name] for f in stored_features(view)}
        rows = joined.select(*[rows[name] for name in rows.columns], **stored)
    return rows
