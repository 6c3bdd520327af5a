"""Query synthesis for pseudo search requests (UniScale, ES3 part 3): three tiers, past behaviour only.

A "need" asks which query could have led a user to an item at a time: need_id, user_id, item_id, market, timestamp.
"""

import ibis

# In order of preference.
OWN, COOCCURRENCE, NEAREST = "own", "cooccurrence", "nearest"


def search_clicks(rows: ibis.Table) -> ibis.Table:
    """Natively clicked search rows: user_id, item_id, market, query, request_id, clicked_at."""
    clicked = rows.filter(rows.clicked_at.notnull())
    return clicked.select("user_id", "item_id", "market", "query", "request_id", "clicked_at")


def own_queries(needs: ibis.Table, clicks: ibis.Table) -> ibis.Table:
    """The query with which the user last clicked the item in search, strictly before the need: need_id, query."""
    needs = needs.select("need_id", "user_id", "item_id", "market", "timestamp")
    past = needs.inner_join(clicks, ["user_id", "item_id", "market"])
    past = past.filter(past.clicked_at < past.timestamp)
    latest = ibis.window(group_by="need_id", order_by=[past.clicked_at.desc(), past.request_id.asc()])
    past = past.mutate(place=ibis.row_number().over(latest))
    return past.filter(past.place == 0).select("need_id", "query")


def cooccurring_queries(needs: ibis.Table, clicks: ibis.Table) -> ibis.Table:
    """The query most often clicked through to the item on days (UTC) before the need's: need_id, query.

    Clicks are counted by day first, so that the join does not grow with an item's popularity. Equal counts: the
    query clicked last, then the first by text.
    """
    days = clicks.mutate(day=clicks.clicked_at.truncate("D"))
    daily = days.group_by("market", "item_id", "query", "day").aggregate(n_clicks=days.count())
    needs = needs.mutate(need_day=needs.timestamp.truncate("D"))
    asked = needs.select("market", "item_id", "need_day").distinct()
    past = asked.inner_join(daily, ["market", "item_id"])
    past = past.filter(past.day < past.need_day)
    counts = past.group_by("market", "item_id", "need_day", "query").aggregate(
        n_clicks=past.n_clicks.sum(), last_day=past.day.max()
    )
    order = ibis.window(
        group_by=["market", "item_id", "need_day"],
        order_by=[counts.n_clicks.desc(), counts.last_day.desc(), counts.query.asc()],
    )
    frequent = counts.mutate(place=ibis.row_number().over(order))
    frequent = frequent.filter(frequent.place == 0).select("market", "item_id", "need_day", "query")
    return needs.inner_join(frequent, ["market", "item_id", "need_day"]).select("need_id", "query")


def synthesise(needs: ibis.Table, clicks: ibis.Table, nearest: ibis.Table) -> ibis.Table:
    """One query for each need that has any: need_id, query, query_source (the tier it came from).

    `nearest` is the third tier, found apart by vectors: need_id, query.
    """
    own = own_queries(needs, clicks).rename(own="query")
    frequent = cooccurring_queries(needs, clicks).rename(frequent="query")
    tiers = needs.select("need_id").left_join(own, "need_id").drop("need_id_right")
    tiers = tiers.left_join(frequent, "need_id").drop("need_id_right")
    tiers = tiers.left_join(nearest.rename(nearest="query"), "need_id").drop("need_id_right")
    tiers = tiers.select(
        "need_id",
        query=ibis.coalesce(tiers.own, tiers.frequent, tiers.nearest),
        query_source=ibis.cases((tiers.own.notnull(), OWN), (tiers.frequent.notnull(), COOCCURRENCE), else_=NEAREST),
    )
    return tiers.filter(tiers.query.notnull())
