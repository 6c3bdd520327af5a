"""Native search rows: every logged candidate of every search request, with the labels its own page earned."""

import ibis

from components.samples.inputs import Inputs
from components.samples.periods import Periods

LABEL_EVENTS = ("click", "purchase")


def search_rows(inputs: Inputs, periods: Periods) -> ibis.Table:
    """One row per candidate of a search request, history and immature days included.

    A native label is an event whose request and item match the row, within the label window after the request
    (`Periods.labels`); a purchase implies a click. Columns: request_id, item_id, user_id, market, query, timestamp,
    period, position, exposed, native_click, native_purchase (int8) and clicked_at (first native click).
    """
    requests = inputs.requests
    searches = requests.filter(requests.domain == "search")
    searches = searches.mutate(period=periods.period(searches.timestamp)).drop("domain")
    events = inputs.events.filter(inputs.events.type.isin(LABEL_EVENTS))
    events = events.select("request_id", "item_id", "type", happened_at=events.timestamp)
    events = events.inner_join(searches.select("request_id", "timestamp"), "request_id")
    events = events.filter(periods.labels(events.timestamp, events.happened_at))
    labels = events.group_by("request_id", "item_id").aggregate(
        clicked_at=events.happened_at.min(),
        native_purchase=(events.type == "purchase").cast("int8").max(),
    )
    rows = inputs.candidates.inner_join(searches, "request_id").left_join(labels, ["request_id", "item_id"])
    return rows.select(
        "request_id",
        "item_id",
        "user_id",
        "market",
        "query",
        "timestamp",
        "period",
        position=rows.position,
        exposed=rows.position.notnull().cast("int8"),
        native_click=rows.clicked_at.notnull().cast("int8"),
        native_purchase=rows.native_purchase.fill_null(0).cast("int8"),
        clicked_at=rows.clicked_at,
    )
