"""Hierarchical label attribution (UniScale, ES3 part 2): which search row a non-search event is credited to.

The tiers are the paper's; window, relevance rule and choice of the latest request are our closed form of it.
"""

import ibis

from components.samples.config import SamplesConfig
from components.samples.inputs import Inputs
from components.samples.native import LABEL_EVENTS
from components.samples.periods import Periods

# In order of preference. A click goes to exposed, else unexposed; a purchase to clicked, else exposed, else unexposed.
UNEXPOSED = "unexposed"
TIERS = ("clicked", "exposed", "exposed_not_clicked", UNEXPOSED)


def elsewhere_events(inputs: Inputs) -> ibis.Table:
    """Clicks and purchases that no search page earned: those of recommendation and shop requests, or of no request.

    The domain is the source request's where there is one. `source_time` is when that request was made; an event
    without a request stands for one made the instant before it. Columns: event_id, user_id, item_id, market, domain,
    source_id (nullable), source_key (source_id, or the event's own id), type, timestamp, source_time.
    """
    requests = inputs.requests.select(
        source_id="request_id", source_domain="domain", source_market="market", requested_at="timestamp"
    )
    events = inputs.events.filter(inputs.events.type.isin(LABEL_EVENTS)).rename(source_id="request_id")
    events = events.left_join(requests, "source_id").drop("source_id_right")
    events = events.inner_join(inputs.items.select("item_id", item_market="market"), "item_id")
    events = events.mutate(
        domain=events.source_domain.fill_null(events.domain),
        market=events.source_market.fill_null(events.item_market),
        source_time=events.requested_at.fill_null(events.timestamp - ibis.interval(microseconds=1)),
        source_key=ibis.cases(
            (events.source_id.notnull(), "request:" + events.source_id), else_="event:" + events.event_id
        ),
    )
    return events.filter(events.domain != "search").select(
        "event_id",
        "user_id",
        "item_id",
        "market",
        "domain",
        "source_id",
        "source_key",
        "type",
        "timestamp",
        "source_time",
    )


def relevance_thresholds(rows: ibis.Table, inputs: Inputs, config: SamplesConfig) -> ibis.Table:
    """The relevance from which a search of each market may have caused an event: market, theta.

    Null where every search may; 0 where a low quantile is asked for and no natively clicked pair has a score.
    """
    if config.relevance_threshold == "youden":
        return inputs.thresholds
    if config.relevance_threshold == "none":
        return inputs.thresholds.mutate(theta=ibis.null("float64"))
    clicked = rows.filter(rows.native_click == 1).select("market", "query", "item_id").distinct()
    scored = clicked.inner_join(inputs.scores, ["market", "query", "item_id"])
    low = scored.group_by("market").aggregate(low=scored.relevance.cast("float64").quantile(config.threshold_quantile))
    markets = inputs.thresholds.select("market").left_join(low, "market")
    return markets.select("market", theta=markets.low.fill_null(0.0))


def search_matches(
    events: ibis.Table,
    rows: ibis.Table,
    thresholds: ibis.Table,
    inputs: Inputs,
    config: SamplesConfig,
    periods: Periods,
) -> ibis.Table:
    """Every (event, search row) that user, item and time window allow, with its relevance and tier.

    The whole candidate list counts, exposed or not. The search lies before the event, at most the window before it
    (edge included). Events from the validation period on are left out: nothing is attributed across that boundary.
    Columns: event_id, type, request_id, item_id, request_time, period, relevance (null if unscored), theta,
    relevant, tier.
    """
    events = events.filter(events.timestamp < ibis.literal(periods.valid_start))
    events = events.select("event_id", "user_id", "item_id", "type", happened_at=events.timestamp)
    rows = rows.select(
        "request_id",
        "item_id",
        "user_id",
        "market",
        "query",
        "period",
        "exposed",
        "clicked_at",
        request_time=rows.timestamp,
    )
    pairs = events.inner_join(rows, ["user_id", "item_id"])
    earliest = ibis.cases(
        (pairs.type == "click", pairs.happened_at - ibis.interval(days=config.click_window_days)),
        else_=pairs.happened_at - ibis.interval(days=config.purchase_window_days),
    )
    pairs = pairs.filter(pairs.request_time < pairs.happened_at, pairs.request_time >= earliest)
    pairs = pairs.left_join(inputs.scores, ["market", "query", "item_id"]).inner_join(thresholds, "market")
    tier = ibis.cases(
        ((pairs.type == "purchase") & (pairs.clicked_at < pairs.happened_at), "clicked"),
        ((pairs.type == "purchase") & (pairs.exposed == 1), "exposed_not_clicked"),
        (pairs.exposed == 1, "exposed"),
        else_=UNEXPOSED,
    )
    return pairs.select(
        "event_id",
        "type",
        "request_id",
        "item_id",
        "request_time",
        "period",
        "relevance",
        "theta",
        relevant=pairs.theta.isnull() | (pairs.relevance.cast("float64") >= pairs.theta).fill_null(False),
        tier=tier,
    )


def attribute(matches: ibis.Table) -> ibis.Table:
    """The one match each event is credited to: relevant, of the highest tier, then of the latest request.

    An event is credited once. The best match may be a request outside the training window; the event then explains
    nothing inside it. Columns: event_id, type, request_id, item_id, period, tier.
    """
    relevant = matches.filter("relevant")
    preference = ibis.cases(*((relevant.tier == name, place) for place, name in enumerate(TIERS)), else_=len(TIERS))
    order = ibis.window(
        group_by="event_id", order_by=[preference, relevant.request_time.desc(), relevant.request_id.asc()]
    )
    ranked = relevant.mutate(place=ibis.row_number().over(order))
    return ranked.filter(ranked.place == 0).select("event_id", "type", "request_id", "item_id", "period", "tier")


def attribution_misses(events: ibis.Table, matches: ibis.Table, periods: Periods) -> ibis.Table:
    """Why events before the boundary found no search row, the nearest miss of each: event_id, type, reason."""
    events = events.filter(events.timestamp < ibis.literal(periods.valid_start)).select("event_id", "type")
    found = matches.group_by("event_id").aggregate(relevant=matches.relevant.any(), best=matches.relevance.max())
    reasons = events.left_join(found.mutate(matched=True), "event_id")
    reasons = reasons.filter(~reasons.relevant.fill_null(False))
    return reasons.select(
        "event_id",
        "type",
        reason=ibis.cases(
            (reasons.matched.isnull(), "no search held the item in time"),
            (reasons.best.isnull(), "pair has no relevance score"),
            else_="relevance below the market's threshold",
        ),
    )


def label_rows(rows: ibis.Table, credited: ibis.Table, config: SamplesConfig) -> ibis.Table:
    """Add the entire-space labels `click` and `purchase`, and `label_source`, to native rows.

    Only training rows are credited, shown ones where `exposed_credit` says so. A row is "attributed" where credit
    changed one of its labels.
    """
    credit = credited.filter(credited.period == "train")
    if not config.exposed_credit:
        credit = credit.filter(credit.tier == UNEXPOSED)
    credit = credit.group_by("request_id", "item_id").aggregate(
        credited_purchase=(credit.type == "purchase").cast("int8").max()
    )
    rows = rows.left_join(credit, ["request_id", "item_id"]).drop("request_id_right", "item_id_right")
    rows = rows.mutate(
        click=ibis.greatest(rows.native_click, rows.credited_purchase.notnull().cast("int8")),
        purchase=ibis.greatest(rows.native_purchase, rows.credited_purchase.fill_null(0).cast("int8")),
    )
    return rows.mutate(
        label_source=ibis.cases(
            ((rows.click != rows.native_click) | (rows.purchase != rows.native_purchase), "attributed"),
            (rows.exposed == 1, "native"),
            else_="unexposed",
        )
    ).drop("credited_purchase")
