"""Items that a user wanted soon after a request, which are no negatives of it (our choice; the paper is silent)."""

import ibis

from components.samples.config import SamplesConfig
from components.samples.inputs import Inputs
from components.samples.native import LABEL_EVENTS
from components.samples.periods import Periods


def wanted_soon(rows: ibis.Table, request: str, inputs: Inputs, config: SamplesConfig, periods: Periods) -> ibis.Table:
    """Of rows with no label, those whose item their user clicked or bought within the window after them, anywhere.

    The windows are attribution's, and nothing from the validation period on counts. `rows` have user_id, item_id,
    timestamp and the column `request`. Columns: `request`, item_id.
    """
    events = inputs.events.filter(
        inputs.events.type.isin(LABEL_EVENTS), inputs.events.timestamp < ibis.literal(periods.valid_start)
    )
    events = events.select("user_id", "item_id", "type", happened_at=events.timestamp)
    pairs = rows.select(request, "user_id", "item_id", "timestamp").inner_join(events, ["user_id", "item_id"])
    latest = ibis.cases(
        (pairs.type == "click", pairs.timestamp + ibis.interval(days=config.click_window_days)),
        else_=pairs.timestamp + ibis.interval(days=config.purchase_window_days),
    )
    soon = pairs.filter(pairs.timestamp < pairs.happened_at, pairs.happened_at <= latest)
    return soon.select(request, "item_id").distinct()
