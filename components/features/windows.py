"""Windowed counts as of each midnight UTC, as Ibis expressions.

A count over w days changes in two places only: an event of day d enters at midnight d+1 and leaves at midnight d+1+w.
So a table of signed changes, summed along time, holds every snapshot whose values can differ from the one before and
no other: the cost grows with active days, not with entities times days, and a point-in-time join reads few rows.
"""

from collections.abc import Mapping, Sequence

import ibis

from components.contracts.features import Feature, stored_features

# A count's name -> the column of the daily table that it sums, and its window in days.
Windows = Mapping[str, tuple[str, int]]


def windows_of(view: str, prefix: str) -> dict[str, tuple[str, int]]:
    """The windows that a view's features name: `prefix`_`column`_`days`d counts `column` over so many days."""
    counted = [f for f in stored_features(view) if isinstance(f, Feature) and f.unit == "count"]
    return {f.name: (f.name.removeprefix(f"{prefix}_").removesuffix(f"_{f.window}d"), f.window) for f in counted}


def facts(table: ibis.Table, keys: Sequence[str], **counts: ibis.Value | int) -> ibis.Table:
    """One row per fact: keys, day, and what it counts for."""
    return table.select(*keys, "day", **{name: _integer(count) for name, count in counts.items()})


def daily(keys: Sequence[str], *tables: ibis.Table, latest: Sequence[str] = ()) -> ibis.Table:
    """Keys, day and the sum of every count that any of the fact tables holds; of those in `latest` the greatest."""
    names = sorted({name for table in tables for name in table.columns} - {*keys, "day"})
    aligned = [
        table.select(*keys, "day", **{n: table[n] if n in table.columns else _integer(0) for n in names})
        for table in tables
    ]
    together = ibis.union(*aligned) if len(aligned) > 1 else aligned[0]
    return together.group_by([*keys, "day"]).aggregate(
        **{n: (together[n].max() if n in latest else together[n].sum()).cast("int64") for n in names}
    )


def snapshots(
    counted: ibis.Table, keys: Sequence[str], windows: Windows, last_day: int, latest: Sequence[str] = ()
) -> ibis.Table:
    """Keys, `day` that begins, and the windowed counts at each midnight up to `last_day`'s where one changes.

    Columns in `latest` are carried on: the greatest value so far.
    """
    enter = counted.select(
        *keys,
        day=counted.day + 1,
        **{name: counted[column] for name, (column, _) in windows.items()},
        **{name: counted[name] for name in latest},
    )
    changes = [enter]
    for length in sorted({days for _, days in windows.values()}):
        leave = {n: -counted[c] if days == length else _integer(0) for n, (c, days) in windows.items()}
        leave |= {name: _integer(0) for name in latest}
        changes.append(counted.select(*keys, day=counted.day + 1 + length, **leave))
    together = ibis.union(*changes)
    together = together.filter(together.day <= last_day)
    change = together.group_by([*keys, "day"]).aggregate(
        **{name: together[name].sum().cast("int64") for name in windows},
        **{name: together[name].max().cast("int64") for name in latest},
    )
    so_far = ibis.cumulative_window(group_by=list(keys), order_by="day")
    return change.select(
        *keys,
        "day",
        **{name: change[name].sum().over(so_far).cast("int64") for name in windows},
        **{name: change[name].max().over(so_far).cast("int64") for name in latest},
    )


def _integer(value: ibis.Value | int) -> ibis.Value:
    return ibis.literal(value, "int64") if isinstance(value, int) else value.cast("int64")
