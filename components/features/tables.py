"""Feature tables: one Parquet file per Feast view, each row valid from its event_timestamp until the key's next row.

Choices (ours; paper 2 names its groups of features, not the features):

- One list of features, `contracts.features`, for tables, Feast, training and serving.
- A request at time t may read rows with event_timestamp <= t; a row holds only what happened before its timestamp.
- A row is dated as a server's store would have had it: after the run that writes it, or after a push (`cadence`).
- Counts are over windows of 1, 7 and 30 days up to midnight UTC (`counts`, `crosses`).
- Sequences hold the last 50 clicks, purchases and searches (`sequences`).
- What depends on the request's own time is no table's: it follows from stored times (`contracts.request_time`).
- Rates are smoothed towards a prior.
- Ids are hashed to buckets with md5, as serving does (`profiles`).
- Stored relevance is a feature that holds at any time: it depends on texts alone.
- Definitions are Ibis expressions, run on DuckDB or Spark.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path

import ibis
import pyarrow as pa

from components.contracts.engine import Engine, open_engine
from components.contracts.errors import BadInput
from components.contracts.features import VIEWS, stored_features
from components.contracts.schemas import TIMESTAMP
from components.contracts.tables import write_tables
from components.contracts.tools.manifest import input_digest, read_manifest, stage_directory, write_manifest
from components.features.cadence import last_day
from components.features.config import FeaturesConfig
from components.features.counts import category_stats, item_stats, query_stats, user_stats
from components.features.crosses import query_categories, query_items, user_brands, user_categories, user_queries
from components.features.facts import log_facts
from components.features.latest import as_utc
from components.features.profiles import item_profile, relevance, user_profile
from components.features.report import write_features_report
from components.features.sequences import user_searches, user_sequences
from components.features.source import ALWAYS, LogTables, open_source

KIND = "features"
REPORT = "reports/features.html"
_TYPES = {
    "numeric": pa.float32(),
    "categorical": pa.int64(),
    "sequence": pa.list_(pa.int64()),
    "time": pa.int64(),
    "text": pa.string(),
}


def build_feature_tables(log: Path, scores: Path, config: FeaturesConfig, as_of: datetime, out: Path) -> None:
    """Write the feature tables of a log as known at `as_of` (no row is later; a naive time is UTC), and their report.

    Raises:
        BadInput: a table of the log or the scores is missing, lacks a column or holds times before the year 2000.
    """
    as_of = as_utc(as_of)
    manifest = read_manifest(log)
    simulated = bool(manifest.get("simulated", False))
    with stage_directory(out) as root, open_engine(config) as engine:
        source = open_source(engine, log, scores)
        _check_times(source, log)
        rows = {
            view: write_tables(_stored(engine, table, view), root / f"{view}.parquet")
            for view, table in feature_tables(source, config, as_of).items()
        }
        write_features_report(root / REPORT, root, source, as_of, simulated)
        write_manifest(
            root,
            KIND,
            config.model_dump(mode="json"),
            {"log": input_digest(log), "scores": input_digest(scores)},
            metrics={"rows": rows},
            packages=["duckdb", "ibis-framework", "pyspark"],
            as_of=as_of.isoformat(),
            markets=manifest["markets"],
            simulated=simulated,
        )


def feature_tables(source: LogTables, config: FeaturesConfig, as_of: datetime) -> Mapping[str, ibis.Table]:
    """The expression of each view's rows up to `as_of`: join keys, features and event_timestamp."""
    day = last_day(as_of, config)
    items = source.engine.keep("items_profiled", item_profile(source, config, as_of))
    log = log_facts(source, config)
    tables = {
        "user_profile": user_profile(source, config),
        "user_stats": user_stats(source, log, config, day),
        "user_sequences": user_sequences(source, items, config),
        "user_searches": user_searches(source, log, config),
        "user_queries": user_queries(log, config, day),
        "query_stats": query_stats(source, log, config, day),
        "item_profile": items,
        "item_stats": item_stats(log, config, day),
        "category_stats": category_stats(log, config, day),
        "user_categories": user_categories(log, config, day),
        "user_brands": user_brands(log, config, day),
        "query_categories": query_categories(log, config, day),
        "query_items": query_items(log, config, day),
        "relevance": relevance(source),
    }
    return {view: table.filter(table.event_timestamp <= ibis.literal(as_of)) for view, table in tables.items()}


def _stored(engine: Engine, table: ibis.Table, view: str) -> Iterator[pa.Table]:
    """The rows of a view in the order and types its file has, sorted so that equal inputs give equal bytes."""
    keys = VIEWS[view]
    schema = pa.schema(
        [pa.field(key, pa.string()) for key in keys]
        + [pa.field(feature.name, _TYPES[feature.kind]) for feature in stored_features(view)]
        + [pa.field("event_timestamp", TIMESTAMP)]
    )
    in_order = table.order_by([*keys, "event_timestamp"]).select(schema.names)
    return (part.cast(schema) for part in engine.batches(view, in_order))


def _check_times(source: LogTables, log: Path) -> None:
    for name, table in (("requests", source.requests), ("events", source.events)):
        early = table.filter(table.timestamp < ibis.literal(ALWAYS)).count().execute()
        if early:
            raise BadInput(f"{log / name}.parquet: column timestamp: before {ALWAYS.date()} in {early} rows")
