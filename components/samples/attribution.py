"""Hierarchical label attribution (UniScale, ES3 part 2): which search row a non-search event is credited to.

The tiers are the paper's; window, relevance rule and choice of the latest request are our closed form of it, and so is
that a journey (journeys.py) goes to one row as a whole.
"""

import ibis

from components.samples.config import SamplesConfig
from components.samples.inputs import Inputs
from components.samples.native import LABEL_EVENTS

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
) -> ibis.Table:
    """Every (event, search row) that user, item and time window allow, with its relevance and tier.

    `events` are those of `with_journeys`. The whole candidate list counts, exposed or not. The search lies before the
    event, at most the window before it (edge included). Columns: event_id, journey_id, type, request_id, item_id,
    request_time, period, relevance (null if unscored), theta, relevant, tier.
    """
    events = events.select("event_id", "journey_id", "user_id", "item_id", "type", happened_at=events.timestamp)
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
        "journey_id",
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


def attribute(events: ibis.Table, matches: ibis.Table) -> ibis.Table:
    """The one row each event's journey is credited to.

    It is that of a match which is relevant; of a purchase, if one has any; of the highest tier; then of the latest
    request. The best match may be a request outside the training window; the journey then explains nothing inside it.
    Columns: event_id, type, request_id, item_id, period, tier, in_time (whether the event itself matched that row: a
    purchase may follow its click too late to be a label of the click's row).
    """
    relevant = matches.filter("relevant")
    tier = ibis.cases(*((relevant.tier == name, place) for place, name in enumerate(TIERS)), else_=len(TIERS))
    preference = [(relevant.type == "click").cast("int8"), tier]
    order = ibis.window(
        group_by="journey_id", order_by=[*preference, relevant.request_time.desc(), relevant.request_id.asc()]
    )
    ranked = relevant.mutate(place=ibis.row_number().over(order))
    best = ranked.filter(ranked.place == 0).select("journey_id", "request_id", "item_id", "period", "tier")
    whole = events.select("event_id", "journey_id", "type").inner_join(best, "journey_id")
    itself = relevant.select("event_id", "request_id").distinct().mutate(in_time=True)
    whole = whole.left_join(itself, ["event_id", "request_id"])
    return whole.select(
        "event_id", "type", "request_id", "item_id", "period", "tier", in_time=whole.in_time.fill_null(False)
    )


def attribution_misses(events: ibis.Table, matches: ibis.Table, credited: ibis.Table) -> ibis.Table:
    """Why events of `with_journeys` found no search row, the nearest miss of each: event_id, type, reason."""
    found = matches.group_by("event_id").aggregate(best=matches.relevance.max())
    missed = events.select("event_id", "type").anti_join(credited, "event_id")
    reasons = missed.left_join(found.mutate(matched=True), "event_id")
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
        credited_purchase=((credit.type == "purchase") & credit.in_time).cast("int8").max()
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
