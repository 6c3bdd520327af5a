"""The three mechanisms of ES3 in order, as Ibis expressions: from checked inputs to samples."""

from dataclasses import dataclass

import ibis
import pyarrow as pa

from components.contracts.errors import BadInput
from components.contracts.schemas import SAMPLES
from components.contracts.tables import Limits, validate
from components.samples.attribution import (
    attribute,
    attribution_misses,
    elsewhere_events,
    label_rows,
    search_matches,
)
from components.samples.config import SamplesConfig
from components.samples.digests import row_digest
from components.samples.expansion import expand
from components.samples.inputs import Inputs
from components.samples.native import search_rows
from components.samples.periods import Periods
from components.samples.queries import search_clicks, synthesise
from components.samples.searchification import (
    event_fates,
    pseudo_needs,
    pseudo_requests,
    pseudo_rows,
    similar_negatives,
)
from components.samples.vectors import nearest_past_queries


@dataclass(frozen=True)
class EntireSpace:
    """What ES3 makes of a log.

    Attributes:
        samples: contracts.schemas.SAMPLES, by time, then request, then item.
        fates: one row a non-search click or purchase: event_id, type, domain, fate.
        credited: attribution's choice for each credited event: event_id, type, tier, period and the row.
        misses: events attribution found no row for: event_id, type, reason.
    """

    samples: pa.Table
    fates: pa.Table
    credited: pa.Table
    misses: pa.Table


def make_samples(inputs: Inputs, config: SamplesConfig, periods: Periods) -> EntireSpace:
    """The three mechanisms in order: attribution over full candidate lists, then sampling, then searchification."""
    native = search_rows(inputs, periods).cache()
    events = elsewhere_events(inputs).cache()
    matches = search_matches(events, native, inputs, config, periods).cache()
    credited = attribute(matches).cache()
    search = expand(label_rows(native, credited), config).cache()
    if search.filter(search.split == "train").count().execute() == 0:
        raise BadInput(
            f"no search request in the training window, {periods.train_start.isoformat()} to "
            f"{periods.train_end.isoformat()}: the log is too short or ends before as_of"
        )

    all_seeds, links = (table.cache() for table in pseudo_requests(events, credited, config, periods))
    seeds = all_seeds.filter(all_seeds.period == "train")
    chosen = similar_negatives(seeds, inputs, config, periods).cache()
    needs = pseudo_needs(seeds, chosen, config).cache()
    searches = inputs.requests.filter(inputs.requests.domain == "search")
    searched = searches.group_by("market", "query").aggregate(first_seen=searches.timestamp.min())
    nearest = nearest_past_queries(
        needs.order_by("need_id").to_pyarrow(), searched.to_pyarrow(), inputs.titles, inputs.queries
    )
    synthesised = synthesise(needs, search_clicks(native), ibis.memtable(nearest)).cache()
    pseudo = pseudo_rows(seeds, chosen, synthesised, config)

    columns = [name for name in SAMPLES.columns if name != "sample_id"]
    samples = search.select(*columns).union(pseudo.select(*columns))
    samples = samples.mutate(sample_id=row_digest(samples.request_id, samples.item_id))
    samples = samples.select(*SAMPLES.columns).order_by("timestamp", "request_id", "item_id")
    fates = event_fates(events, credited, all_seeds, links, synthesised, periods)
    return EntireSpace(
        samples=validate(samples.to_pyarrow(), SAMPLES, "samples", Limits(markets=inputs.markets)),
        fates=fates.order_by("event_id").to_pyarrow(),
        credited=credited.order_by("event_id").to_pyarrow(),
        misses=attribution_misses(events, matches, periods).order_by("event_id").to_pyarrow(),
    )
