"""Windowed counts as of each midnight UTC, as Ibis expressions.

A count over w days changes in two places only: an event of day d enters at midnight d+1 and leaves at midnight d+1+w.
So a table of signed changes, summed along time, holds every snapshot whose values can differ from the one before and
no other: the cost grows with active days, not with entities times days, and a point-in-time join reads few rows.
"""

from collections.abc import Mapping

import ibis

from components.features.config import FeaturesConfig
from components.features.profiles import bucket_table
from components.features.source import ALWAYS, LogTables, day_of, midnight

# Count column of the daily tables and window in days of each stored count.
_USER_WINDOWS = {
    "user_searches_7d": ("searches", 7),
    "user_clicks_7d": ("clicks", 7),
    "user_carts_7d": ("carts", 7),
    "user_purchases_28d": ("purchases", 28),
}
_ITEM_WINDOWS = {
    "item_exposures_7d": ("exposures", 7),
    "item_clicks_7d": ("clicks", 7),
    "item_carts_7d": ("carts", 7),
    "item_purchases_28d": ("purchases", 28),
    "exposures_28d": ("exposures", 28),
    "answered_28d": ("answered", 28),
}
_QUERY_WINDOWS = {
    "query_searches_7d": ("searches", 7),
    "exposures_28d": ("exposures", 28),
    "answered_28d": ("answered", 28),
}


def user_stats(source: LogTables, last_day: int) -> ibis.Table:
    """Searches, and clicks, carts and purchases of every domain, of each user; zeros before the first."""
    searches = source.requests.filter(source.requests.domain == "search")
    daily = _daily(
        "user_id",
        _facts(searches, "user_id", searches=1),
        _facts(source.events, "user_id", **_by_type(source.events)),
    )
    counts = _snapshots(daily, "user_id", _USER_WINDOWS, last_day, source.users.select("user_id"))
    return _as_floats(counts, "user_id", list(_USER_WINDOWS))


def item_stats(source: LogTables, config: FeaturesConfig, last_day: int) -> ibis.Table:
    """Exposures and events of every domain, of each item; zeros and the prior rate before the first.

    The rate counts clicks that belong to a logged request only, so that each has an exposure to be divided by.
    """
    events = source.events
    answered = ((events.type == "click") & events.request_id.notnull()).cast("int64")
    daily = _daily(
        "item_id",
        _facts(_exposures(source), "item_id", exposures=1),
        _facts(events, "item_id", answered=answered, **_by_type(events)),
    )
    counts = _snapshots(daily, "item_id", _ITEM_WINDOWS, last_day, source.items.select("item_id"))
    counts = counts.mutate(item_ctr_28d=_smoothed(counts, config))
    kept = [name for name in _ITEM_WINDOWS if name.startswith("item_")]
    return _as_floats(counts, "item_id", [*kept, "item_ctr_28d"])


def query_stats(source: LogTables, config: FeaturesConfig, last_day: int) -> ibis.Table:
    """Bucket, searches and click-through rate of each query, from the midnight after its first search on.

    Before that a query is unknown (no row), as it is to a server that meets it for the first time.
    """
    searches = keyed_searches(source)
    shown = _exposures(source).inner_join(searches.select("request_id", "query_key"), "request_id")
    clicks = source.events.filter(source.events.type == "click").select("request_id", "timestamp")
    clicked = clicks.inner_join(searches.select("request_id", "query_key"), "request_id")
    daily = _daily(
        "query_key",
        _facts(searches, "query_key", searches=1),
        _facts(shown, "query_key", exposures=1),
        _facts(clicked, "query_key", answered=1),
    )
    counts = _snapshots(daily, "query_key", _QUERY_WINDOWS, last_day)
    counts = counts.mutate(query_ctr_28d=_smoothed(counts, config))
    stats = _as_floats(counts, "query_key", ["query_searches_7d", "query_ctr_28d"])
    buckets = bucket_table(source.engine, source.query_keys.query_key, "query_bucket")
    return stats.inner_join(buckets, stats.query_key == buckets["value"]).drop("value")


def _exposures(source: LogTables) -> ibis.Table:
    """request_id, item_id, timestamp of every exposed candidate of every domain."""
    shown = source.candidates.filter(source.candidates.position.notnull()).select("request_id", "item_id")
    return shown.inner_join(source.requests.select("request_id", "timestamp"), "request_id")


def keyed_searches(source: LogTables) -> ibis.Table:
    """request_id, market, query_key, timestamp of every search request."""
    searches = source.requests.filter(source.requests.domain == "search")
    keyed = searches.inner_join(source.query_keys, ["market", "query"])
    return keyed.select("request_id", "market", "query_key", "timestamp")


def _by_type(events: ibis.Table) -> dict[str, ibis.Value]:
    names = {"clicks": "click", "carts": "cart", "purchases": "purchase"}
    return {column: (events.type == kind).cast("int64") for column, kind in names.items()}


def _facts(table: ibis.Table, key: str, **counts: ibis.Value | int) -> ibis.Table:
    """One row per fact: key, day, and what it counts for."""
    return table.select(key, day=day_of(table.timestamp), **{n: _integer(c) for n, c in counts.items()})


def _integer(value: ibis.Value | int) -> ibis.Value:
    return ibis.literal(value, "int64") if isinstance(value, int) else value


def _daily(key: str, *facts: ibis.Table) -> ibis.Table:
    """key, day and the sum of every count that any of the fact tables holds."""
    names = sorted({name for table in facts for name in table.columns} - {key, "day"})
    aligned = [
        table.select(key, "day", **{n: table[n] if n in table.columns else _integer(0) for n in names})
        for table in facts
    ]
    together = ibis.union(*aligned) if len(aligned) > 1 else aligned[0]
    return together.group_by([key, "day"]).aggregate(**{n: together[n].sum().cast("int64") for n in names})


def _snapshots(
    daily: ibis.Table, key: str, windows: Mapping[str, tuple[str, int]], last_day: int, known: ibis.Table | None = None
) -> ibis.Table:
    """key, event_timestamp and the windowed counts at each midnight up to that of `last_day` where one changes.

    `known` lists keys that have a row of zeros from ALWAYS on.
    """
    enter = daily.select(key, snapshot=daily.day + 1, **{name: daily[column] for name, (column, _) in windows.items()})
    changes = [enter]
    for length in sorted({days for _, days in windows.values()}):
        leave = {n: -daily[c] if days == length else _integer(0) for n, (c, days) in windows.items()}
        changes.append(daily.select(key, snapshot=daily.day + 1 + length, **leave))
    if known is not None:
        always = day_of(ibis.literal(ALWAYS))
        changes.append(known.select(key, snapshot=always, **{name: _integer(0) for name in windows}))
    together = ibis.union(*changes)
    together = together.filter(together.snapshot <= last_day)
    change = together.group_by([key, "snapshot"]).aggregate(**{n: together[n].sum().cast("int64") for n in windows})
    so_far = ibis.cumulative_window(group_by=key, order_by="snapshot")
    return change.select(
        key,
        event_timestamp=midnight(change.snapshot),
        **{name: change[name].sum().over(so_far).cast("int64") for name in windows},
    )


def _smoothed(counts: ibis.Table, config: FeaturesConfig) -> ibis.Value:
    return (counts.answered_28d + config.ctr_prior * config.ctr_strength) / (counts.exposures_28d + config.ctr_strength)


def _as_floats(counts: ibis.Table, key: str, names: list[str]) -> ibis.Table:
    return counts.select(key, "event_timestamp", **{name: counts[name].cast("float32") for name in names})
