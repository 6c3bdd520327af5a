"""The latest slice of feature tables: the newest row per key, which a release carries and serving materialises."""

from datetime import UTC, datetime
from pathlib import Path

import ibis
import pyarrow as pa

from components.contracts.engine import EngineConfig, open_engine
from components.contracts.errors import BadInput
from components.contracts.features import VIEWS
from components.contracts.tables import write_table
from components.contracts.tools.manifest import atomic_directory, input_digest, read_manifest, write_manifest

KIND = "features-latest"


def latest_slice(features: Path, as_of: datetime, out: Path) -> None:
    """Write to `out` the newest row of each key of each view known at `as_of` (a naive time is UTC).

    Raises:
        BadInput: `features` has no manifest or lacks a view's file.
    """
    source = read_manifest(features)
    with atomic_directory(out) as root:
        rows = {}
        for view in VIEWS:
            table = latest_rows(features, view, as_of)
            write_table(table, root / f"{view}.parquet")
            rows[view] = table.num_rows
        write_manifest(
            root,
            KIND,
            config=source["config"],
            inputs={"features": input_digest(features)},
            metrics={"rows": rows},
            as_of=as_utc(as_of).isoformat(),
            markets=source["markets"],
            simulated=source["simulated"],
        )


def latest_rows(features: Path, view: str, as_of: datetime) -> pa.Table:
    """The newest row per key of one view with event_timestamp <= `as_of`, in key order."""
    path = features / f"{view}.parquet"
    if not path.is_file():
        raise BadInput(f"{path}: no such file")
    with open_engine(EngineConfig()) as engine:
        table = engine.scan(path)
        rows = newest_rows(table, view, as_of).order_by(list(VIEWS[view])).to_pyarrow()
        return rows.cast(table.schema().to_pyarrow())


def newest_rows(table: ibis.Table, view: str, as_of: datetime) -> ibis.Table:
    """The newest row of each key of a view's table with event_timestamp <= `as_of`."""
    known = table.filter(table.event_timestamp <= ibis.literal(as_utc(as_of)))
    age = ibis.row_number().over(ibis.window(group_by=VIEWS[view], order_by=known.event_timestamp.desc()))
    newest = known.mutate(age=age)
    return newest.filter(newest.age == 0).drop("age")


def as_utc(time: datetime) -> datetime:
    """`time` in UTC; a naive one is taken to be UTC already."""
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
