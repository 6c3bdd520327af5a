"""What the stage reads, checked at the boundary and handed on as Ibis tables and vectors."""

import math
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import ibis
import pyarrow as pa
import pyarrow.compute as pc

from components.contracts.errors import BadInput
from components.contracts.files import find_table
from components.contracts.schemas import (
    CANDIDATES,
    EVENTS,
    ITEMS,
    ORACLE,
    QUERY_VECTORS,
    RELEVANCE_SCORES,
    REQUESTS,
    TITLE_VECTORS,
    TableSchema,
)
from components.contracts.tables import Limits, read_table
from components.contracts.text import normalise_query
from components.contracts.tools.manifest import read_json, read_manifest
from components.samples.vectors import Vectors, query_keys


@dataclass(frozen=True)
class Inputs:
    """The stage's inputs. Queries are normalised everywhere; timestamps are UTC.

    Attributes:
        items: item_id, market, category.
        requests: request_id, user_id, market, domain, query (null outside search), timestamp.
        candidates: request_id, item_id, position (null if unexposed).
        events: event_id, user_id, item_id, domain, request_id (nullable), type, timestamp.
        scores: market, query, item_id, relevance.
        thresholds: market, theta.
        titles, queries: unit vectors of titles by item_id, and of queries by `query_keys`.
        markets: the log's markets.
        simulated: whether the log says that it was simulated.
        truth: of a simulated log's search candidates, request_id, item_id and click_chance; None where there is none.
    """

    items: ibis.Table
    requests: ibis.Table
    candidates: ibis.Table
    events: ibis.Table
    scores: ibis.Table
    thresholds: ibis.Table
    titles: Vectors
    queries: Vectors
    markets: tuple[str, ...]
    simulated: bool
    truth: ibis.Table | None


def read_inputs(engine: ibis.BaseBackend, log: Path, scores: Path, encodings: Path, as_of: datetime) -> Inputs:
    """Read and check the three input directories.

    Raises:
        BadInput: a file breaks its contract, a search request has no query, or a market with search requests has no
            relevance threshold or no scores.
    """
    manifest = read_manifest(log)
    limits = Limits(markets=[str(market) for market in manifest["markets"]], as_of=as_of)
    requests = _read(log, REQUESTS, limits)
    requests = requests.set_column(
        requests.schema.get_field_index("query"), "query", normalised_queries(requests["query"])
    )
    searches = requests.filter(pc.equal(requests["domain"], "search"))
    if searches.num_rows == 0:
        raise BadInput(f"{log}: requests: no search request in {requests.num_rows} rows")
    if searches["query"].null_count:
        raise BadInput(
            f"{log}: requests: column query: null in {searches['query'].null_count} of {searches.num_rows} "
            "search requests"
        )
    markets = sorted(pc.unique(searches["market"]).to_pylist())
    relevance = _read(scores, RELEVANCE_SCORES, limits)
    unscored = sorted(set(markets) - set(pc.unique(relevance["market"]).to_pylist()))
    if unscored:
        raise BadInput(f"{scores / 'scores.parquet'}: no scores for market {', '.join(unscored)}")
    title_vectors = _read(encodings, TITLE_VECTORS, limits)
    query_vectors = _read(encodings, QUERY_VECTORS, limits)

    simulated = bool(manifest.get("simulated", False))

    def table(name: str, content: pa.Table) -> ibis.Table:
        return engine.create_table(name, obj=ibis.memtable(content))

    return Inputs(
        items=table("items", _read(log, ITEMS, limits).select(["item_id", "market", "category"])),
        requests=table("requests", requests),
        candidates=table("candidates", _read(log, CANDIDATES, limits)),
        events=table("events", _read(log, EVENTS, limits)),
        scores=table("scores", relevance.select(["market", "query", "item_id", "relevance"])),
        thresholds=table("thresholds", read_thresholds(scores / "thresholds.json", markets)),
        titles=Vectors.of(title_vectors["item_id"], title_vectors["vector"], f"{encodings}: title_vectors"),
        queries=Vectors.of(
            query_keys(query_vectors["market"], query_vectors["query"]),
            query_vectors["vector"],
            f"{encodings}: query_vectors",
        ),
        markets=tuple(limits.markets),
        simulated=simulated,
        truth=table("truth", _read(log, ORACLE, limits).select(["request_id", "item_id", "click_chance"]))
        if simulated and find_table(log, ORACLE.name)
        else None,
    )


def read_thresholds(path: Path, markets: list[str]) -> pa.Table:
    """Relevance thresholds, market and theta; BadInput unless each of `markets` has one between 0 and 1."""
    content = read_json(path)
    missing = [market for market in markets if market not in content]
    if missing:
        raise BadInput(f"{path}: no threshold for market {', '.join(missing)}")
    for market in markets:
        theta = content[market]
        if isinstance(theta, bool) or not isinstance(theta, int | float) or not 0 <= theta <= 1 or math.isnan(theta):
            raise BadInput(f"{path}: threshold of market {market} is {theta!r}, expected a number from 0 to 1")
    return pa.table({"market": markets, "theta": pa.array([content[m] for m in markets], pa.float64())})


def normalised_queries(queries: pa.ChunkedArray) -> pa.ChunkedArray:
    """Queries in normal form; nulls stay. Each distinct text is normalised once, and only those become Python's."""
    encoded = queries.combine_chunks().dictionary_encode()
    distinct = pa.array([normalise_query(text) for text in encoded.dictionary.to_pylist()], pa.string())
    return pa.chunked_array([distinct.take(encoded.indices)])


def _read(directory: Path, schema: TableSchema, limits: Limits) -> pa.Table:
    name = "scores" if schema is RELEVANCE_SCORES else schema.name
    path = find_table(directory, name)
    if path is None:
        raise BadInput(f"{directory}: no file {name}.parquet")
    return read_table(path, schema, limits).select(list(schema.columns))
