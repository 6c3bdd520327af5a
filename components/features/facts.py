"""What a log says, prepared for counting: exposures and events with their query, category and expectation."""

from dataclasses import dataclass

import ibis

from components.features.config import FeaturesConfig
from components.features.source import LogTables, day_of

# Positions from here on count as one.
_LAST_POSITION = 50
# Expected clicks and prices are summed as whole numbers, so that no order of rows changes a sum.
MICRO = 1_000_000


@dataclass(frozen=True)
class LogFacts:
    """A log's rows as several views count them.

    Attributes:
        shown: request_id, user_id, item_id, domain, timestamp, day, category, expected (clicks at this place, in
            millionths): exposed candidates of every domain.
        events: the log's events with day, category, brand, and price (ln(1 + price), in millionths).
        searches: request_id, user_id, query_key, timestamp, day of every search.
    """

    shown: ibis.Table
    events: ibis.Table
    searches: ibis.Table


def log_facts(source: LogTables, config: FeaturesConfig) -> LogFacts:
    """The facts of a log, steps that several views read kept by the engine."""
    items = source.items.select(
        "item_id",
        "category",
        brand=source.items.brand.strip().nullif(""),
        price=((source.items.price + 1).ln() * MICRO).round().cast("int64"),
    )
    events = source.events.inner_join(items, "item_id")
    events = events.mutate(day=day_of(events.timestamp))
    searches = source.requests.filter(source.requests.domain == "search")
    searches = searches.inner_join(source.query_keys, ["market", "query"])
    searches = searches.select("request_id", "user_id", "query_key", "timestamp", day=day_of(searches.timestamp))
    return LogFacts(
        source.engine.keep("shown", _shown(source, items, config)),
        source.engine.keep("events_counted", events),
        source.engine.keep("searches_counted", searches),
    )


def answered(facts: LogFacts) -> ibis.Table:
    """Clicks and purchases that belong to a search, with its query_key; `day` is the event's own."""
    events = facts.events.select("request_id", "user_id", "item_id", "category", "type", "timestamp", "day")
    events = events.filter(events.type.isin(["click", "purchase"]))
    return events.inner_join(facts.searches.select("request_id", "query_key"), "request_id")


def shown_of_queries(facts: LogFacts) -> ibis.Table:
    """Exposed candidates of searches, with their query_key."""
    return facts.shown.inner_join(facts.searches.select("request_id", "query_key"), "request_id")


def _shown(source: LogTables, items: ibis.Table, config: FeaturesConfig) -> ibis.Table:
    shown = source.candidates.filter(source.candidates.position.notnull())
    shown = shown.mutate(place=ibis.least(shown.position.cast("int64"), ibis.literal(_LAST_POSITION, "int64")))
    shown = shown.inner_join(source.requests.select("request_id", "user_id", "domain", "timestamp"), "request_id")
    shown = shown.inner_join(items.select("item_id", "category"), "item_id")
    shown = shown.mutate(day=day_of(shown.timestamp))
    rates = _rates_by_place(source, shown, config)
    known = shown.inner_join(rates, ["domain", "place", "day"])
    return known.select("request_id", "user_id", "item_id", "domain", "timestamp", "day", "category", "expected")


def _rates_by_place(source: LogTables, shown: ibis.Table, config: FeaturesConfig) -> ibis.Table:
    """domain, place, day, expected: the click rate of a place by all that was shown there up to that day's end.

    A click counts on its own day. What is expected of a day's exposures is known at its end, and no row sees it before.
    """
    clicks = source.events.filter(source.events.type == "click", source.events.request_id.notnull())
    clicks = clicks.select("request_id", "item_id", clicked_on=day_of(clicks.timestamp)).distinct()
    places = shown.select("request_id", "item_id", "domain", "place", "day")
    hits = places.inner_join(clicks, ["request_id", "item_id"])
    hits = hits.select("domain", "place", day=hits.clicked_on, exposures=_whole(0), clicks=_whole(1))
    seen = places.select("domain", "place", "day", exposures=_whole(1), clicks=_whole(0))
    together = ibis.union(seen, hits)
    daily = together.group_by(["domain", "place", "day"]).aggregate(
        exposures=together.exposures.sum().cast("int64"), clicks=together.clicks.sum().cast("int64")
    )
    so_far = ibis.cumulative_window(group_by=["domain", "place"], order_by="day")
    totals = daily.select(
        "domain", "place", "day", exposures=daily.exposures.sum().over(so_far), clicks=daily.clicks.sum().over(so_far)
    )
    rate = (totals.clicks + config.ctr_prior * config.ctr_strength) / (totals.exposures + config.ctr_strength)
    return totals.select("domain", "place", "day", expected=(rate * MICRO).round().cast("int64"))


def _whole(value: int) -> ibis.Value:
    return ibis.literal(value, "int64")
