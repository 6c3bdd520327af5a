"""The three mechanisms of ES3 in order, as Ibis expressions: from checked inputs to samples.

The paper's (UniScale, arXiv 2603.24226):
- attribution: a non-search event is credited to a search row, exposed before unexposed (attribution.py)
- expansion: unexposed candidates, drawn uniformly, are negatives (expansion.py)
- searchification: other behaviour becomes pseudo search requests, whose queries come from three tiers
  (searchification.py, queries.py)

Our choices, where the paper is silent:
- attribution first, over full candidate lists, then the draw of negatives: unexposed positives would vanish otherwise
- windows of days, a relevance threshold per market, the latest request of the best tier; an event is credited once
- a click and its purchase are one journey, and make one positive (journeys.py)
- one window of labels for every split; no label crosses the boundary between training and validation (periods.py)
- what a user clicked or bought soon after a request is no negative of it (wanted.py)
- "similar" negatives are of the clicked item's category, or near it by the cosine of their titles
- draws depend on a hash of ids, so that every engine draws the same (digests.py)
"""

from dataclasses import dataclass

import ibis

from components.contracts.engine import Engine
from components.contracts.errors import BadInput
from components.contracts.schemas import SAMPLES, SPLITS
from components.samples.attribution import (
    attribute,
    attribution_misses,
    elsewhere_events,
    label_rows,
    relevance_thresholds,
    search_matches,
)
from components.samples.config import SamplesConfig
from components.samples.coverage import coverage
from components.samples.digests import row_digest
from components.samples.expansion import expand
from components.samples.inputs import Inputs
from components.samples.journeys import with_journeys
from components.samples.native import search_rows
from components.samples.periods import IMMATURE, Periods
from components.samples.queries import search_clicks, synthesise
from components.samples.searchification import (
    event_fates,
    join_purchases,
    left_over_events,
    most_similar,
    negative_pool,
    pseudo_needs,
    pseudo_requests,
    pseudo_rows,
)
from components.samples.vectors import nearest_past_queries, title_cosines
from components.samples.wanted import wanted_soon


@dataclass(frozen=True)
class EntireSpace:
    """What ES3 makes of a log: tables on the engine, their rows in no order.

    Attributes:
        samples: contracts.schemas.SAMPLES.
        fates: one row per non-search click or purchase: event_id, type, domain, fate.
        credited: attribution's choice for each credited event: event_id, type, tier, period and the row.
        misses: events attribution found no row for: event_id, type, reason.
        coverage: how many of the positives that unexposed rows should hold attribution found (coverage.py).
        wanted: one row per candidate that is no negative, since its user wanted it soon after (wanted.py): mechanism.
        immature: one row per search request that is no sample, since its labels are not complete: split.
    """

    samples: ibis.Table
    fates: ibis.Table
    credited: ibis.Table
    misses: ibis.Table
    coverage: ibis.Table
    wanted: ibis.Table
    immature: ibis.Table


def make_samples(engine: Engine, inputs: Inputs, config: SamplesConfig, periods: Periods) -> EntireSpace:
    """The three mechanisms in order: attribution over full candidate lists, then sampling, then searchification.

    `engine` holds the inputs and the tables between steps, and what this returns.
    """
    keep = engine.keep
    native = keep("native", search_rows(inputs, periods))
    events = keep("elsewhere", elsewhere_events(inputs))
    early = keep("journeys", with_journeys(events, config, periods))
    thresholds = keep("relevance_thresholds", relevance_thresholds(native, inputs, config))
    matches = keep("matches", search_matches(early, native, thresholds, inputs, config))
    credited = keep("credited", attribute(early, matches))
    labelled = keep("labelled", label_rows(native, credited, config))
    candidates = labelled.filter(labelled.period == "train", labelled.exposed == 0, labelled.click == 0)
    wanted = keep("wanted", wanted_soon(candidates, "request_id", inputs, config, periods))
    search = keep("search_samples", expand(labelled.anti_join(wanted, ["request_id", "item_id"]), config))
    absent = sorted(set(SPLITS) - set(search.select("split").distinct().to_pyarrow()["split"].to_pylist()))
    if absent:
        raise BadInput(
            f"no search request in the {' and '.join(absent)} window of {periods}: the log is too short for these "
            "days, or ends before as_of"
        )

    left_over = keep("left_over", left_over_events(early, credited, periods))
    joined = keep("joined", join_purchases(left_over, periods))
    all_seeds = keep("seeds", pseudo_requests(left_over, joined, periods))
    seeds = all_seeds.filter(all_seeds.period == "train")
    unclicked = keep("unclicked", negative_pool(seeds, inputs, periods))
    wanted_too = keep("wanted_too", wanted_soon(unclicked, "pseudo_id", inputs, config, periods))
    pool = keep("negative_pool", unclicked.anti_join(wanted_too, ["pseudo_id", "item_id"]))
    pairs = pool.select("clicked", "item_id").distinct().order_by("clicked", "item_id")
    cosines = (title_cosines(part, inputs.titles) for part in engine.batches("pairs", pairs))
    chosen = keep("negatives", most_similar(pool, engine.load("similarity", cosines), config))
    needs = keep("needs", pseudo_needs(seeds, chosen, config))
    searches = inputs.requests.filter(inputs.requests.domain == "search")
    searched = searches.group_by("market", "query").aggregate(first_seen=searches.timestamp.min())
    nearest = nearest_past_queries(
        needs.order_by("need_id").to_pyarrow(), searched.to_pyarrow(), inputs.titles, inputs.queries
    )
    synthesised = keep("synthesised", synthesise(needs, search_clicks(native), engine.load("nearest", nearest)))
    pseudo = keep("pseudo", pseudo_rows(seeds, chosen, synthesised, config))

    columns = [name for name in SAMPLES.columns if name != "sample_id"]
    samples = search.select(*columns).union(pseudo.select(*columns))
    samples = samples.mutate(sample_id=row_digest(samples.request_id, samples.item_id))
    samples = samples.select(*SAMPLES.columns)
    fates = event_fates(events, credited, left_over, joined, all_seeds, synthesised, pseudo, config, periods)
    return EntireSpace(
        samples=keep("samples", samples),
        fates=keep("fates", fates),
        credited=credited,
        misses=keep("misses", attribution_misses(early, matches, credited)),
        coverage=keep("coverage", coverage(native, credited, inputs)),
        wanted=keep("no_negatives", _by_mechanism(wanted, wanted_too)),
        immature=keep("immature", _immature(native)),
    )


def _immature(native: ibis.Table) -> ibis.Table:
    requests = native.filter(native.period.startswith(IMMATURE)).select("request_id", "period").distinct()
    return requests.select(split=requests.period.substr(len(IMMATURE)))


def _by_mechanism(expansion: ibis.Table, searchification: ibis.Table) -> ibis.Table:
    names = {"expansion": expansion, "searchification": searchification}
    return ibis.union(*(table.select(mechanism=ibis.literal(name)) for name, table in names.items()))
