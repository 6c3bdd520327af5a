"""Intra-domain expansion (UniScale, ES3 part 1): unexposed candidates of each search request, sampled uniformly."""

import ibis

from components.samples.config import SamplesConfig
from components.samples.digests import row_digest


def expand(rows: ibis.Table, config: SamplesConfig) -> ibis.Table:
    """The labelled search rows that become samples, out of `label_rows`' output, with `split` and `query_source`.

    Training requests keep what was exposed and every unexposed positive, and `unexposed_per_exposed` negatives for
    each exposed candidate, in the order of an md5 of seed and ids: the same draw on every engine. Labels come first,
    the draw second, or unexposed positives would vanish. `unexposed_weight` is the share of both that stays. Validation
    and test requests keep their whole list, so that a ranker can be judged on it. Other days are dropped.
    """
    rows = rows.filter(rows.period.isin(("train", "valid", "test")))
    rows = rows.mutate(
        drawn_from=(rows.exposed == 0) & (rows.click == 0),
        draw=row_digest(rows.request_id, rows.item_id, prefix=f"{config.seed}|"),
        thinned=_thinned(rows, config),
        n_exposed=rows.exposed.sum().over(ibis.window(group_by="request_id")),
    )
    order = ibis.window(group_by=["request_id", "drawn_from"], order_by=["draw", "item_id"])
    rows = rows.mutate(place=ibis.row_number().over(order))
    wanted = (rows.n_exposed.cast("float64") * config.unexposed_per_exposed + 0.5).floor()
    kept = rows.filter((rows.period != "train") | ~rows.drawn_from | (rows.place < wanted))
    kept = kept.filter((kept.period != "train") | (kept.exposed == 1) | ~kept.thinned)
    return kept.mutate(domain=ibis.literal("search"), query_source=ibis.literal("native"), split=kept.period)


def _thinned(rows: ibis.Table, config: SamplesConfig) -> ibis.Value:
    """Whether an unexposed row falls to `unexposed_weight`: a draw of its own, the same on every engine."""
    if config.unexposed_weight == 1:
        return ibis.literal(False)
    draw = row_digest(rows.request_id, rows.item_id, prefix=f"{config.seed}|share|")
    # Eight hexadecimal digits, evenly spread, and of a width that makes order of text order of numbers.
    return draw.substr(0, 8) >= f"{min(int(config.unexposed_weight * 16**8), 16**8 - 1):08x}"
