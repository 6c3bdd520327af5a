"""What users, items, categories and queries did in windows of 1, 7 and 30 days up to each midnight, and their rates.

Choices (ours):

- Rates are smoothed towards a prior. Only clicks that belong to a logged request count for a click rate, so that each
  has an exposure to be divided by.
- Clicks over expected clicks: what is expected of an exposure is the click rate of its place on the page (`facts`).
- A view has no row of whoever has not been seen: before that it is unknown, as it is to a server.
"""

import ibis

from components.features.cadence import after_midnight
from components.features.config import FeaturesConfig
from components.features.facts import MICRO, LogFacts, answered, shown_of_queries
from components.features.profiles import bucket_table
from components.features.source import LogTables, day_of
from components.features.windows import daily, facts, snapshots, windows_of

_MONTH = 30


def user_stats(source: LogTables, log: LogFacts, config: FeaturesConfig, last_day: int) -> ibis.Table:
    """Searches, events by kind and domain, click rate and mean price of clicked items, of each user."""
    requests, events = source.requests, log.events
    requests = requests.mutate(day=day_of(requests.timestamp))
    click = events.type == "click"
    counted = daily(
        ["user_id"],
        facts(requests, ["user_id"], searches=requests.domain == "search"),
        facts(log.shown, ["user_id"], exposures=1),
        facts(events, ["user_id"], price=click.ifelse(events.price, 0), **_by_kind(events)),
    )
    extra = {name: (name, _MONTH) for name in ("exposures", "answered", "clicks", "price")}
    counts = snapshots(counted, ["user_id"], windows_of("user_stats", "user") | extra, last_day)
    mean = counts.price / (counts.clicks * MICRO).nullif(0)
    return counts.mutate(
        user_ctr_30d=_ctr(counts.answered, counts.exposures, config),
        # Nothing is stored as null: NaN says that there is none.
        user_price_log_30d=mean.coalesce(ibis.literal(float("nan"))),
        event_timestamp=after_midnight(counts.day, config),
    )


def item_stats(log: LogFacts, config: FeaturesConfig, last_day: int) -> ibis.Table:
    """Exposures, events by kind and domain, rates, and the last click, of each item that was shown or used."""
    events = log.events
    clicked_at = (events.type == "click").ifelse(events.timestamp.epoch_seconds(), 0)
    counted = daily(
        ["item_id"],
        facts(log.shown, ["item_id"], exposures=1, expected=log.shown.expected),
        facts(events, ["item_id"], item_clicked_at=clicked_at, **_by_kind(events)),
        latest=["item_clicked_at"],
    )
    month = {name: (name, _MONTH) for name in ("answered", "clicks", "expected")}
    week = {"answered_7d": ("answered", 7)}
    windows = windows_of("item_stats", "item") | month | week
    counts = snapshots(counted, ["item_id"], windows, last_day, latest=["item_clicked_at"])
    return counts.mutate(
        item_ctr_7d=_ctr(counts.answered_7d, counts.item_exposures_7d, config),
        item_ctr_30d=_ctr(counts.answered, counts.item_exposures_30d, config),
        item_cvr_30d=_cvr(counts.item_purchases_30d, counts.clicks, config),
        item_coec_30d=_coec(counts.answered, counts.expected, config),
        event_timestamp=after_midnight(counts.day, config),
    )


def category_stats(log: LogFacts, config: FeaturesConfig, last_day: int) -> ibis.Table:
    """Clicks, purchases and rates of each category."""
    counted = daily(
        ["category"],
        facts(log.shown, ["category"], exposures=1),
        facts(log.events, ["category"], **_by_kind(log.events)),
    )
    extra = {name: (name, _MONTH) for name in ("exposures", "answered")}
    counts = snapshots(counted, ["category"], windows_of("category_stats", "category") | extra, last_day)
    return counts.mutate(
        category_ctr_30d=_ctr(counts.answered, counts.exposures, config),
        category_cvr_30d=_cvr(counts.category_purchases_30d, counts.category_clicks_30d, config),
        event_timestamp=after_midnight(counts.day, config),
    )


def query_stats(source: LogTables, log: LogFacts, config: FeaturesConfig, last_day: int) -> ibis.Table:
    """Bucket, searches, clicks, rates and top category of each query."""
    shown, events = shown_of_queries(log), answered(log)
    counted = daily(
        ["query_key"],
        facts(log.searches, ["query_key"], searches=1),
        facts(shown, ["query_key"], exposures=1, expected=shown.expected),
        facts(events, ["query_key"], clicks=events.type == "click", purchases=events.type == "purchase"),
    )
    extra = {name: (name, _MONTH) for name in ("exposures", "purchases", "expected")}
    windows = windows_of("query_stats", "query") | extra
    counts = source.engine.keep("query_counts", snapshots(counted, ["query_key"], windows, last_day))
    counts = _with_top_category(source, counts, events)
    clicks = counts.query_clicks_30d
    stats = counts.mutate(
        query_ctr_30d=_ctr(clicks, counts.exposures, config),
        query_cvr_30d=_cvr(counts.purchases, clicks, config),
        query_coec_30d=_coec(clicks, counts.expected, config),
        query_top_category_share_30d=(counts.top_clicks / clicks.nullif(0)).coalesce(0.0),
        event_timestamp=after_midnight(counts.day, config),
    )
    buckets = bucket_table(source.engine, source.query_keys.query_key, "query_bucket")
    return stats.inner_join(buckets, stats.query_key == buckets["value"]).drop("value")


def _with_top_category(source: LogTables, counts: ibis.Table, events: ibis.Table) -> ibis.Table:
    """With top_clicks and query_top_category: of the category that got most of a query's clicks within the window."""
    clicks = events.filter(events.type == "click")
    clicks = clicks.select("query_key", "category", clicked_on=clicks.day)
    by_day = clicks.group_by(["query_key", "category", "clicked_on"]).aggregate(clicks=clicks.count())
    snapshot = counts.select("query_key", "day")
    within = snapshot.inner_join(
        by_day,
        [
            snapshot.query_key == by_day.query_key,
            by_day.clicked_on < snapshot.day,
            by_day.clicked_on >= snapshot.day - _MONTH,
        ],
    )
    totals = within.group_by(["query_key", "day", "category"]).aggregate(top_clicks=within.clicks.sum().cast("int64"))
    buckets = bucket_table(source.engine, source.items.category, "query_top_category")
    totals = totals.inner_join(buckets, totals.category == buckets["value"]).drop("value")
    best_first = ibis.window(group_by=["query_key", "day"], order_by=[totals.top_clicks.desc(), totals.category.asc()])
    ranked = totals.mutate(rank=ibis.row_number().over(best_first))
    top = ranked.filter(ranked["rank"] == 0).select("query_key", "day", "top_clicks", "query_top_category")
    joined = counts.left_join(top, ["query_key", "day"])
    return joined.select(
        *[counts[name] for name in counts.columns],
        top_clicks=top.top_clicks.coalesce(0),
        query_top_category=top.query_top_category.coalesce(0),
    )


def _by_kind(events: ibis.Table) -> dict[str, ibis.Value]:
    click, purchase = events.type == "click", events.type == "purchase"
    counts = {"clicks": click, "carts": events.type == "cart", "purchases": purchase}
    counts |= {f"{domain}_clicks": click & (events.domain == domain) for domain in ("search", "rec", "shop")}
    counts |= {f"{domain}_purchases": purchase & (events.domain == domain) for domain in ("search", "rec", "shop")}
    return counts | {"answered": click & events.request_id.notnull()}


def _ctr(clicks: ibis.Value, exposures: ibis.Value, config: FeaturesConfig) -> ibis.Value:
    return (clicks + config.ctr_prior * config.ctr_strength) / (exposures + config.ctr_strength)


def _cvr(purchases: ibis.Value, clicks: ibis.Value, config: FeaturesConfig) -> ibis.Value:
    return (purchases + config.cvr_prior * config.cvr_strength) / (clicks + config.cvr_strength)


def _coec(clicks: ibis.Value, expected: ibis.Value, config: FeaturesConfig) -> ibis.Value:
    """Clicks per expected click (in millionths); 1 without exposures."""
    strength = config.ctr_prior * config.ctr_strength
    return (clicks + strength) / (expected / MICRO + strength)
