"""Coverage: of the positives that unexposed rows should hold, how many attribution found. It tells what ES3 may gain.

An unexposed row without an attributed event is a negative. Where coverage is low, most of these are wrong, and a ranker
learns from them that what was not shown is not clicked.
"""

import ibis

from components.samples.attribution import UNEXPOSED
from components.samples.inputs import Inputs

# Rows are compared within steps of relevance this wide.
_STEP = 0.1


def coverage(rows: ibis.Table, credited: ibis.Table, inputs: Inputs) -> ibis.Table:
    """By market, over every unexposed candidate of the training window's searches (one row a market).

    `estimated` is what natively shown rows suggest, on any log: each unexposed row counts for the native click rate of
    the shown rows of its market and its step of relevance (of its market, where none of that step was shown). That rate
    belongs to the places that were shown, and to what the logging policy liked. `expected` is the truth of a simulated
    log: the sum of the chances of a click, each at its place in the list; null elsewhere. Columns: market, unexposed
    (rows), recovered (of them, with an attributed event), recovered_chance (the recovered ones' true chances, summed),
    estimated, expected.
    """
    rows = rows.filter(rows.period == "train").left_join(inputs.scores, ["market", "query", "item_id"])
    rows = rows.select(
        "request_id",
        "item_id",
        "market",
        "exposed",
        native_click=rows.native_click.cast("float64"),
        step=(rows.relevance.cast("float64") / _STEP).floor().cast("int64").fill_null(-1),
    )
    shown = rows.filter(rows.exposed == 1)
    by_step = shown.group_by("market", "step").aggregate(step_rate=shown.native_click.mean())
    by_market = shown.group_by("market").aggregate(market_rate=shown.native_click.mean())
    found = credited.filter(credited.period == "train", credited.tier == UNEXPOSED)
    found = found.select("request_id", "item_id").distinct().mutate(found=ibis.literal(1, "int64"))
    unexposed = rows.filter(rows.exposed == 0)
    unexposed = unexposed.left_join(found, ["request_id", "item_id"]).drop("request_id_right", "item_id_right")
    unexposed = unexposed.left_join(by_step, ["market", "step"]).drop("market_right", "step_right")
    unexposed = unexposed.left_join(by_market, "market").drop("market_right")
    if inputs.truth is None:
        unexposed = unexposed.mutate(chance=ibis.null("float64"))
    else:
        truth = inputs.truth.select("request_id", "item_id", chance=inputs.truth.click_chance.cast("float64"))
        unexposed = unexposed.left_join(truth, ["request_id", "item_id"]).drop("request_id_right", "item_id_right")
    unexposed = unexposed.mutate(
        found=unexposed.found.fill_null(0), rate=ibis.coalesce(unexposed.step_rate, unexposed.market_rate)
    )
    return unexposed.group_by("market").aggregate(
        unexposed=unexposed.count(),
        recovered=unexposed.found.sum(),
        recovered_chance=(unexposed.chance * unexposed.found).sum(),
        estimated=unexposed.rate.sum(),
        expected=unexposed.chance.sum(),
    )
