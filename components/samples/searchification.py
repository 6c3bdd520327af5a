"""Searchification (UniScale, ES3 part 3): non-search behaviour retold as pseudo search requests.

Every non-search click that attribution left over becomes a pseudo request of its own, and so does a purchase without
a click: one positive, and the most similar unclicked items of the source request as negatives. One without negatives is
dropped: a list of one row says nothing about order, and the more of them, the more a ranker learns that what comes from
elsewhere is clicked. Closed form: ours.
"""

import ibis

from components.samples.attribution import UNEXPOSED
from components.samples.config import SamplesConfig
from components.samples.digests import row_digest
from components.samples.inputs import Inputs
from components.samples.periods import Periods

SHOWN = "search showed it: the row keeps its native label"
ALONE = "no negative on its page"
TOGETHER = "goes with its journey"


def left_over_events(events: ibis.Table, credited: ibis.Table, periods: Periods) -> ibis.Table:
    """Events of `with_journeys` that attribution left over.

    With `pseudo_id`, the pseudo request they could make (clicks of one user on one item of one source page are one),
    and `late`, whether they came too late after their page to be a label of it.
    """
    left_over = events.anti_join(credited, "event_id")
    page = row_digest(left_over.source_key, left_over.user_id, prefix=left_over.type + "|")
    return left_over.mutate(
        pseudo_id="pseudo-" + row_digest(page, left_over.item_id),
        late=~periods.labels(left_over.source_time, left_over.timestamp),
    )


def join_purchases(left_over: ibis.Table, periods: Periods) -> ibis.Table:
    """Left-over purchases that follow a click: event_id, pseudo_id of the click, late (to be a label of its page)."""
    purchases = left_over.filter(left_over.journey_id != left_over.event_id)
    purchases = purchases.select("event_id", "timestamp", "journey_id")
    clicks = left_over.select("pseudo_id", "source_time", journey_id="event_id")
    pairs = purchases.inner_join(clicks, "journey_id")
    return pairs.select("event_id", "pseudo_id", late=~periods.labels(pairs.source_time, pairs.timestamp))


def pseudo_requests(left_over: ibis.Table, joined: ibis.Table, periods: Periods) -> ibis.Table:
    """One row per pseudo request, whatever its period: left-over clicks, and purchases that join none.

    Its time is that of its source request, before which everything it knows must lie. Columns: pseudo_id (becomes its
    request_id), event_id (the first that made it), user_id, item_id, market, domain, source_id, timestamp, period,
    purchase (int8).
    """
    bought = joined.filter(~joined.late).select("pseudo_id").distinct().mutate(joined=True)
    makers = left_over.filter(~left_over.late).anti_join(joined, "event_id")
    first = ibis.window(group_by="pseudo_id", order_by=["timestamp", "event_id"])
    seeds = makers.mutate(place=ibis.row_number().over(first))
    seeds = seeds.filter(seeds.place == 0).left_join(bought, "pseudo_id")
    return seeds.select(
        "pseudo_id",
        "event_id",
        "user_id",
        "item_id",
        "market",
        "domain",
        "source_id",
        timestamp=seeds.source_time,
        period=periods.period(seeds.source_time),
        purchase=((seeds.type == "purchase") | seeds.joined.notnull()).cast("int8"),
    )


def negative_pool(seeds: ibis.Table, inputs: Inputs, periods: Periods) -> ibis.Table:
    """Items of each pseudo request's source page with which nothing happened there.

    Columns: pseudo_id, user_id, market, timestamp of the pseudo request, clicked (its item), item_id, same_category.
    """
    touched = inputs.events.filter(
        inputs.events.request_id.notnull(), inputs.events.timestamp < ibis.literal(periods.valid_start)
    )
    touched = touched.select("request_id", "item_id").distinct()
    listed = inputs.candidates.select("request_id", "item_id").anti_join(touched, ["request_id", "item_id"])
    pages = seeds.select("pseudo_id", "user_id", "market", "timestamp", clicked="item_id", request_id="source_id")
    pool = pages.inner_join(listed, "request_id")
    pool = pool.filter(pool.item_id != pool.clicked)
    category = inputs.items.select("item_id", "category")
    pool = pool.inner_join(category, "item_id")
    pool = pool.inner_join(category.select(clicked="item_id", clicked_category="category"), "clicked")
    return pool.select(
        "pseudo_id",
        "user_id",
        "market",
        "timestamp",
        "clicked",
        "item_id",
        same_category=pool.category == pool.clicked_category,
    )


def most_similar(pool: ibis.Table, similarity: ibis.Table, config: SamplesConfig) -> ibis.Table:
    """The negatives of each pseudo request, out of `negative_pool`.

    Similar: of the same category, or with title vectors at a cosine of `theta_neg` or more; the best
    `negatives_per_click` by cosine, then by id. `similarity` (clicked, item_id, cosine) was found apart by vectors;
    a pair without one is not a negative. Columns: pseudo_id, item_id, user_id, market, timestamp.
    """
    pool = pool.inner_join(similarity, ["clicked", "item_id"])
    pool = pool.filter(pool.same_category | (pool.cosine >= config.theta_neg))
    order = ibis.window(group_by="pseudo_id", order_by=[pool.cosine.desc(), pool.item_id.asc()])
    pool = pool.mutate(place=ibis.row_number().over(order))
    chosen = pool.filter(pool.place < config.negatives_per_click)
    return chosen.select("pseudo_id", "item_id", "user_id", "market", "timestamp")


def pseudo_needs(seeds: ibis.Table, chosen: ibis.Table, config: SamplesConfig) -> ibis.Table:
    """What query synthesis is asked: one need per positive, and one per negative where each has its own query."""
    needs = seeds.select("user_id", "item_id", "market", "timestamp", need_id=seeds.pseudo_id)
    if config.negative_query == "shared":
        return needs
    own = chosen.select("user_id", "item_id", "market", "timestamp", need_id=_negative_need(chosen))
    return needs.union(own)


def pseudo_rows(seeds: ibis.Table, chosen: ibis.Table, synthesised: ibis.Table, config: SamplesConfig) -> ibis.Table:
    """Sample rows of the pseudo requests that got a query and a negative: the positive, and its negatives with it.

    They keep their source domain, are never `exposed` (no search page showed them) and have no native label.
    """
    positives = seeds.inner_join(synthesised.select("query", "query_source", pseudo_id="need_id"), "pseudo_id")
    positives = positives.mutate(click=ibis.literal(1, "int8"), label_source=ibis.literal("searchified"))
    page = positives.select("pseudo_id", "domain", "query", "query_source")
    if config.negative_query == "own":
        chosen = chosen.mutate(need_id=_negative_need(chosen)).inner_join(synthesised, "need_id")
        page = page.select("pseudo_id", "domain")
    unclicked = chosen.inner_join(page, "pseudo_id").mutate(
        click=ibis.literal(0, "int8"),
        purchase=ibis.literal(0, "int8"),
        label_source=ibis.literal("searchified_negative"),
    )
    positives = positives.semi_join(unclicked, "pseudo_id")
    columns = (
        "item_id",
        "user_id",
        "market",
        "domain",
        "query",
        "timestamp",
        "click",
        "purchase",
        "label_source",
        "query_source",
    )
    rows = positives.select(*columns, request_id="pseudo_id").union(unclicked.select(*columns, request_id="pseudo_id"))
    nothing = ibis.literal(0, "int8")
    rows = rows.mutate(position=ibis.null("int32"))
    return rows.mutate(exposed=nothing, native_click=nothing, native_purchase=nothing, split=ibis.literal("train"))


def _negative_need(chosen: ibis.Table) -> ibis.Value:
    return chosen.pseudo_id + "|" + chosen.item_id


def event_fates(
    events: ibis.Table,
    credited: ibis.Table,
    left_over: ibis.Table,
    joined: ibis.Table,
    seeds: ibis.Table,
    synthesised: ibis.Table,
    pseudo: ibis.Table,
    config: SamplesConfig,
    periods: Periods,
) -> ibis.Table:
    """What became of every non-search click and purchase, exactly one fate each: event_id, type, domain, fate."""
    made = left_over.anti_join(joined, "event_id").select("event_id", "pseudo_id", "late").mutate(joined=False)
    links = made.union(joined.mutate(joined=True))
    credited = credited.select("event_id", "tier", "in_time", credited_period="period")
    seeds = seeds.select("pseudo_id", starter_id="event_id", seed_period="period")
    answered = synthesised.select(pseudo_id="need_id").mutate(answered=True)
    fates = events.left_join(credited, "event_id").drop("event_id_right")
    fates = fates.left_join(links, "event_id").drop("event_id_right")
    fates = fates.left_join(seeds, "pseudo_id").drop("pseudo_id_right")
    fates = fates.left_join(answered, "pseudo_id").drop("pseudo_id_right")
    told = pseudo.filter(pseudo.click == 1).select(pseudo_id="request_id").mutate(told=True)
    fates = fates.left_join(told, "pseudo_id").drop("pseudo_id_right")
    labels = ibis.literal(True) if config.exposed_credit else fates.tier == UNEXPOSED
    return fates.select(
        "event_id",
        "type",
        "domain",
        fate=ibis.cases(
            (fates.timestamp >= ibis.literal(periods.valid_start), "after the boundary"),
            (~fates.in_time.fill_null(True), TOGETHER),
            ((fates.credited_period == "train") & labels, "attributed"),
            (fates.credited_period == "train", SHOWN),
            (fates.credited_period.notnull(), "attributed outside the training window"),
            (fates.late, "outside the label window of its page"),
            (fates.joined & fates.told.notnull(), "joined its click"),
            (fates.joined, "its click was not searchified"),
            (fates.seed_period == "history", "before the training window"),
            (fates.seed_period != "train", "immature"),
            (fates.answered.isnull(), "no query"),
            (fates.told.isnull(), ALONE),
            (fates.starter_id == fates.event_id, "searchified"),
            else_="repeated on its page",
        ),
    )
