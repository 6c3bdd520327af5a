"""The same expressions compile for Spark: every relational step, over tables of no engine."""

from collections.abc import Iterator

import ibis
import numpy as np
import pytest
from ibis.config import Config

from components.samples.attribution import (
    attribute,
    attribution_misses,
    elsewhere_events,
    label_rows,
    relevance_thresholds,
    search_matches,
)
from components.samples.config import PAPER_LABELS, SamplesConfig
from components.samples.coverage import coverage
from components.samples.expansion import expand
from components.samples.inputs import Inputs
from components.samples.journeys import with_journeys
from components.samples.native import search_rows
from components.samples.periods import Periods
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
from components.samples.vectors import Vectors
from tests.samples.hand_log import AS_OF


class SparkOptions(Config):
    treat_nan_as_null: bool = False


TIME = "timestamp('UTC', 6)"


def steps(config: SamplesConfig) -> Iterator[tuple[str, ibis.Table]]:
    """Each step's expression over unbound tables, its inputs cut off as `make_samples` materialises them."""

    def kept(name: str, table: ibis.Table) -> ibis.Table:
        return ibis.table(table.schema(), name=name)

    no_vectors = Vectors(keys=None, matrix=np.empty((0, 0)))
    inputs = Inputs(
        items=ibis.table({"item_id": "string", "market": "string", "category": "string"}, name="items"),
        requests=ibis.table(
            dict.fromkeys(("request_id", "user_id", "market", "domain", "query"), "string") | {"timestamp": TIME},
            name="requests",
        ),
        candidates=ibis.table({"request_id": "string", "item_id": "string", "position": "int32"}, name="candidates"),
        events=ibis.table(
            dict.fromkeys(("event_id", "user_id", "item_id", "domain", "request_id", "type"), "string")
            | {"timestamp": TIME},
            name="events",
        ),
        scores=ibis.table(
            {"market": "string", "query": "string", "item_id": "string", "relevance": "float32"}, name="scores"
        ),
        thresholds=ibis.table({"market": "string", "theta": "float64"}, name="thresholds"),
        titles=no_vectors,
        queries=no_vectors,
        markets=("TH",),
        simulated=True,
        truth=ibis.table({"request_id": "string", "item_id": "string", "click_chance": "float32"}, name="truth"),
    )
    periods = Periods.before(AS_OF, config)
    yield "native", search_rows(inputs, periods)
    native = kept("native", search_rows(inputs, periods))
    yield "elsewhere", elsewhere_events(inputs)
    events = kept("elsewhere", elsewhere_events(inputs))
    yield "thresholds", relevance_thresholds(native, inputs, config)
    thresholds = kept("relevance_thresholds", relevance_thresholds(native, inputs, config))
    yield "journeys", with_journeys(events, config, periods)
    early = kept("journeys", with_journeys(events, config, periods))
    matches = search_matches(early, native, thresholds, inputs, config)
    yield "matches", matches
    matches = kept("matches", matches)
    yield "credited", attribute(early, matches)
    credited = kept("credited", attribute(early, matches))
    yield "misses", attribution_misses(early, matches, credited)
    yield "coverage", coverage(native, credited, inputs)
    yield "expanded", expand(label_rows(native, credited, config), config)
    yield "left over", left_over_events(early, credited, periods)
    left_over = kept("left_over", left_over_events(early, credited, periods))
    yield "joined", join_purchases(left_over, periods)
    joined = kept("joined", join_purchases(left_over, periods))
    yield "seeds", pseudo_requests(left_over, joined, periods)
    seeds = kept("seeds", pseudo_requests(left_over, joined, periods))
    yield "pool", negative_pool(seeds, inputs, periods)
    pool = kept("pool", negative_pool(seeds, inputs, periods))
    similarity = ibis.table({"clicked": "string", "item_id": "string", "cosine": "float32"}, name="similarity")
    yield "negatives", most_similar(pool, similarity, config)
    chosen = kept("negatives", most_similar(pool, similarity, config))
    needs = pseudo_needs(seeds, chosen, config)
    yield "needs", needs
    nearest = ibis.table({"need_id": "string", "query": "string"}, name="nearest")
    synthesised = synthesise(kept("needs", needs), search_clicks(native), nearest)
    yield "synthesised", synthesised
    synthesised = kept("synthesised", synthesised)
    yield "pseudo", pseudo_rows(seeds, chosen, synthesised, config)
    pseudo = kept("pseudo", pseudo_rows(seeds, chosen, synthesised, config))
    yield "fates", event_fates(events, credited, left_over, joined, seeds, synthesised, pseudo, config, periods)


CONFIGS = [
    SamplesConfig(**PAPER_LABELS),
    SamplesConfig(negative_query="own", unexposed_weight=0.5),
    SamplesConfig(relevance_threshold="low_quantile"),
]


@pytest.mark.parametrize("config", CONFIGS)
def test_every_step_compiles_for_spark(config: SamplesConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    if ibis.options.pyspark is None:
        # Ibis registers this option when it loads PySpark, which compiling does not need.
        monkeypatch.setattr(ibis.options, "pyspark", SparkOptions())
    names = []
    for name, table in steps(config):
        sql = ibis.to_sql(table, dialect="pyspark")
        assert "SELECT" in sql
        names.append(name)
    assert len(names) == 18
