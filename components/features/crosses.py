"""Counts of pairs: a user's with a category, a brand or a query, a query's with an item or a category.

A pair that has no row, or one of zeros, counts 0: `contracts.features` says so, and a server keeps no zeros.
"""

import ibis

from components.features.cadence import after_midnight
from components.features.config import FeaturesConfig
from components.features.facts import LogFacts, answered, shown_of_queries
from components.features.windows import daily, facts, snapshots, windows_of


def user_categories(log: LogFacts, config: FeaturesConfig, last_day: int) -> ibis.Table:
    """Clicks and purchases of each user and category."""
    return _pairs("user_categories", ["user_id", "category"], "user_category", config, last_day, _events(log))


def user_brands(log: LogFacts, config: FeaturesConfig, last_day: int) -> ibis.Table:
    """Clicks and purchases of each user and brand; items without a brand make no pair."""
    branded = _events(log).filter(lambda events: events.brand.notnull())
    return _pairs("user_brands", ["user_id", "brand"], "user_brand", config, last_day, branded)


def user_queries(log: LogFacts, config: FeaturesConfig, last_day: int) -> ibis.Table:
    """Searches and clicks of each user and query, and the last search."""
    keys = ["user_id", "query_key"]
    clicks = answered(log).filter(lambda events: events.type == "click")
    counted = daily(
        keys,
        facts(log.searches, keys, searches=1, user_query_at=log.searches.timestamp.epoch_seconds()),
        facts(clicks, keys, clicks=1),
        latest=["user_query_at"],
    )
    counts = snapshots(counted, keys, windows_of("user_queries", "user_query"), last_day, latest=["user_query_at"])
    return counts.mutate(event_timestamp=after_midnight(counts.day, config))


def query_items(log: LogFacts, config: FeaturesConfig, last_day: int) -> ibis.Table:
    """Exposures, clicks and purchases of each query and item."""
    keys = ["query_key", "item_id"]
    shown = shown_of_queries(log).mutate(exposures=1, clicks=0, purchases=0)
    return _pairs("query_items", keys, "query_item", config, last_day, shown, _with_kinds(answered(log)))


def query_categories(log: LogFacts, config: FeaturesConfig, last_day: int) -> ibis.Table:
    """Clicks of each query and category."""
    events = _with_kinds(answered(log))
    return _pairs("query_categories", ["query_key", "category"], "query_category", config, last_day, events)


def _events(log: LogFacts) -> ibis.Table:
    return _with_kinds(log.events.filter(log.events.type.isin(["click", "purchase"])))


def _with_kinds(events: ibis.Table) -> ibis.Table:
    return events.mutate(clicks=events.type == "click", purchases=events.type == "purchase", exposures=0)


def _pairs(
    view: str, keys: list[str], prefix: str, config: FeaturesConfig, last_day: int, *tables: ibis.Table
) -> ibis.Table:
    """A view's windowed counts of the pairs of `keys`, each count a column of every table."""
    windows = windows_of(view, prefix)
    columns = sorted({column for column, _ in windows.values()})
    counted = daily(keys, *(facts(table, keys, **{c: table[c] for c in columns}) for table in tables))
    counts = snapshots(counted, keys, windows, last_day)
    return counts.mutate(event_timestamp=after_midnight(counts.day, config))
