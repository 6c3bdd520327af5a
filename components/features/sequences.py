"""Behaviour sequences: what a user clicked and bought last, as of each click or purchase, as Ibis expressions."""

import ibis

from components.contracts.features import SEQUENCE_LENGTH
from components.features.source import LogTables

# A row is visible from one microsecond after its event: a request at the event's own instant must not see it.
_JUST_AFTER = ibis.interval(microseconds=1)


def user_sequences(source: LogTables, items: ibis.Table) -> ibis.Table:
    """One row per user and instant with a click or purchase of any domain: the last of each kind, newest first.

    Args:
        source: the log.
        items: item_id, item_bucket, category_bucket.

    Events of one instant count in the order of their ids; lists hold at most SEQUENCE_LENGTH codes and may be empty.
    """
    events = source.events.filter(source.events.type.isin(["click", "purchase"]))
    events = events.inner_join(items.select("item_id", "item_bucket", "category_bucket"), "item_id")
    so_far = ibis.cumulative_window(group_by="user_id", order_by=["timestamp", "event_id"])
    events = events.mutate(
        clicks=(events.type == "click").cast("int64").sum().over(so_far),
        purchases=(events.type == "purchase").cast("int64").sum().over(so_far),
    )
    instants = events.group_by(["user_id", "timestamp"]).aggregate(
        clicks=events.clicks.max(), purchases=events.purchases.max()
    )
    rows = _attach(instants, _latest(events, "click", "clicks"), "clicks", "clicked")
    rows = _attach(rows, _latest(events, "purchase", "purchases"), "purchases", "purchased")
    return rows.select(
        "user_id",
        "clicked_items",
        "clicked_categories",
        "purchased_items",
        "purchased_categories",
        event_timestamp=rows.timestamp + _JUST_AFTER,
    )


def _latest(events: ibis.Table, kind: str, count: str) -> ibis.Table:
    """user_id, n, items, categories: the last codes after a user's n-th event of a kind."""
    chosen = events.filter(events.type == kind)
    newest_first = ibis.window(
        group_by="user_id",
        order_by=[chosen.timestamp.desc(), chosen.event_id.desc()],
        preceding=0,
        following=SEQUENCE_LENGTH - 1,
    )
    return chosen.select(
        "user_id",
        n=chosen[count],
        items=chosen.item_bucket.collect().over(newest_first),
        categories=chosen.category_bucket.collect().over(newest_first),
    )


def _attach(rows: ibis.Table, latest: ibis.Table, count: str, prefix: str) -> ibis.Table:
    joined = rows.left_join(latest, [rows.user_id == latest.user_id, rows[count] == latest.n])
    empty = ibis.literal([], "array<int64>")
    return joined.select(
        *[rows[name] for name in rows.columns],
        **{
            f"{prefix}_items": latest["items"].coalesce(empty),
            f"{prefix}_categories": latest.categories.coalesce(empty),
        },
    )
