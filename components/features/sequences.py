"""Behaviour sequences: what a user clicked, bought and searched for last, as Ibis expressions.

Clicks and purchases are pushed as they happen; searches are there with the next run of the features pipeline. Lists are
newest first, hold at most SEQUENCE_LENGTH values, and may be empty.
"""

from collections.abc import Mapping

import ibis

from components.contracts.features import SEQUENCE_LENGTH
from components.contracts.markets import DOMAIN_CODES
from components.features.cadence import after_push, after_refresh
from components.features.config import FeaturesConfig
from components.features.facts import LogFacts
from components.features.profiles import bucket_table
from components.features.source import LogTables


def user_sequences(source: LogTables, items: ibis.Table, config: FeaturesConfig) -> ibis.Table:
    """One row per user and instant with a click or purchase of any domain: the last of each kind.

    Args:
        source: the log.
        items: item_id, item_bucket, category_bucket.
        config: says how long a push takes.

    Events of one instant count in the order of their ids. Domains are 1 + contracts.markets.DOMAIN_CODES.
    """
    events = source.events.filter(source.events.type.isin(["click", "purchase"]))
    events = events.inner_join(items.select("item_id", "item_bucket", "category_bucket"), "item_id")
    so_far = ibis.cumulative_window(group_by="user_id", order_by=["timestamp", "event_id"])
    events = events.mutate(
        clicks=(events.type == "click").cast("int64").sum().over(so_far),
        purchases=(events.type == "purchase").cast("int64").sum().over(so_far),
        domain_code=events.domain.cases(*((name, code + 1) for name, code in DOMAIN_CODES.items())).cast("int64"),
        second=events.timestamp.epoch_seconds().cast("int64"),
    )
    rows = events.group_by(["user_id", "timestamp"]).aggregate(
        clicks=events.clicks.max(), purchases=events.purchases.max()
    )
    for kind, count, prefix in (("click", "clicks", "clicked"), ("purchase", "purchases", "purchased")):
        columns = {
            f"{prefix}_items": "item_bucket",
            f"{prefix}_categories": "category_bucket",
            f"{prefix}_domains": "domain_code",
            f"{prefix}_at": "second",
        }
        chosen = events.filter(events.type == kind)
        rows = _attach(rows, _latest(chosen, count, "event_id", columns), count)
    return rows.mutate(event_timestamp=after_push(rows.timestamp, config))


def user_searches(source: LogTables, log: LogFacts, config: FeaturesConfig) -> ibis.Table:
    """One row per user and run of the features pipeline after a search: the last queries and their times."""
    buckets = bucket_table(source.engine, source.query_keys.query_key, "searched_queries")
    searches = log.searches.inner_join(buckets, log.searches.query_key == buckets["value"])
    so_far = ibis.cumulative_window(group_by="user_id", order_by=["timestamp", "request_id"])
    searches = searches.mutate(
        searches=searches.count().over(so_far).cast("int64"),
        second=searches.timestamp.epoch_seconds().cast("int64"),
        event_timestamp=after_refresh(searches.timestamp, config),
    )
    rows = searches.group_by(["user_id", "event_timestamp"]).aggregate(searches=searches.searches.max())
    columns = {"searched_queries": "searched_queries", "searched_at": "second"}
    return _attach(rows, _latest(searches, "searches", "request_id", columns), "searches")


def _latest(chosen: ibis.Table, count: str, tie: str, columns: Mapping[str, str]) -> ibis.Table:
    """user_id, n, and a list for each of `columns`: the last values up to a user's n-th row."""
    newest_first = ibis.window(
        group_by="user_id",
        order_by=[chosen.timestamp.desc(), chosen[tie].desc()],
        preceding=0,
        following=SEQUENCE_LENGTH - 1,
    )
    lists = {name: chosen[column].collect().over(newest_first) for name, column in columns.items()}
    return chosen.select("user_id", n=chosen[count], **lists)


def _attach(rows: ibis.Table, latest: ibis.Table, count: str) -> ibis.Table:
    joined = rows.left_join(latest, [rows.user_id == latest.user_id, rows[count] == latest.n])
    empty = ibis.literal([], "array<int64>")
    lists = [name for name in latest.columns if name not in ("user_id", "n")]
    return joined.select(
        *[rows[name] for name in rows.columns], **{name: latest[name].coalesce(empty) for name in lists}
    )
