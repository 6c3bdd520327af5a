"""Journeys: a click outside search and the purchases that follow it are one want, and make one positive."""

import ibis

from components.samples.config import SamplesConfig
from components.samples.periods import Periods


def with_journeys(events: ibis.Table, config: SamplesConfig, periods: Periods) -> ibis.Table:
    """`elsewhere_events` before the boundary, with `journey_id`.

    It is the event_id of a journey's first event: a purchase belongs to the user's latest click on the item, no more
    than the purchase window before it; without one it is a journey of its own, as every click is.
    """
    early = events.filter(events.timestamp < ibis.literal(periods.valid_start))
    clicks = early.filter(early.type == "click")
    clicks = clicks.select("user_id", "item_id", journey_id=clicks.event_id, clicked_at=clicks.timestamp)
    purchases = early.filter(early.type == "purchase").select("event_id", "user_id", "item_id", "timestamp")
    pairs = purchases.inner_join(clicks, ["user_id", "item_id"])
    window = ibis.interval(days=config.purchase_window_days)
    pairs = pairs.filter(pairs.clicked_at <= pairs.timestamp, pairs.clicked_at >= pairs.timestamp - window)
    latest = ibis.window(group_by="event_id", order_by=[pairs.clicked_at.desc(), pairs.journey_id.asc()])
    pairs = pairs.mutate(place=ibis.row_number().over(latest))
    following = pairs.filter(pairs.place == 0).select("event_id", "journey_id")
    joined = early.left_join(following, "event_id").drop("event_id_right")
    return joined.mutate(journey_id=joined.journey_id.fill_null(joined.event_id))
