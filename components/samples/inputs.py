"""What the stage reads, checked at the boundary and handed on as Ibis tables and vectors."""

import math
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import ibis
import pyarrow as pa

from components.contracts.engine import Engine
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


def read_inputs(engine: Engine, log: Path, scores: Path, encodings: Path, as_of: datetime) -> Inputs:
    """Check the three input directories and open their tables on the engine, which scans the files.

    Raises:
        BadInput: a file breaks its contract, a search request has no query, or a market with search requests has no
            relevance threshold or no scores.
    """
    manifest = read_manifest(log)
    limits = Limits(markets=[str(market) for market in manifest["markets"]], as_of=as_of)
    requests = _scan(engine, log, REQUESTS, limits)
    searches = requests.filter(requests.domain == "search")
    counts = (
        searches.aggregate(n=searches.count(), unasked=searches["query"].isnull().sum()).to_pyarrow().to_pylist()[0]
    )
    if counts["n"] == 0:
        raise BadInput(f"{log}: requests: no search request in {requests.count().execute()} rows")
    if counts["unasked"]:
        raise BadInput(f"{log}: requests: column query: null in {counts['unasked']} of {counts['n']} search requests")
    markets = _distinct(searches, "market")
    relevance = _scan(engine, scores, RELEVANCE_SCORES, limits)
    unscored = sorted(set(markets) - set(_distinct(relevance, "market")))
    if unscored:
        raise BadInput(f"{scores / 'scores.parquet'}: no scores for market {', '.join(unscored)}")
    title_vectors = _read(encodings, TITLE_VECTORS, limits)
    query_vectors = _read(encodings, QUERY_VECTORS, limits)
    simulated = bool(manifest.get("simulated", False))
    return Inputs(
        items=_scan(engine, log, ITEMS, limits).select("item_id", "market", "category"),
        requests=engine.keep("requests", _with_normal_queries(engine, requests)),
        candidates=_scan(engine, log, CANDIDATES, limits),
        events=_scan(engine, log, EVENTS, limits),
        scores=relevance.select("market", "query", "item_id", "relevance"),
        thresholds=engine.load("thresholds", read_thresholds(scores / "thresholds.json", markets)),
        titles=Vectors.of(title_vectors["item_id"], title_vectors["vector"], f"{encodings}: title_vectors"),
        queries=Vectors.of(
            query_keys(query_vectors["market"], query_vectors["query"]),
            query_vectors["vector"],
            f"{encodings}: query_vectors",
        ),
        markets=tuple(limits.markets),
        simulated=simulated,
        truth=_scan(engine, log, ORACLE, limits).select("request_id", "item_id", "click_chance")
        if simulated and find_table(log, ORACLE.name)
        else None,
    )


def _with_normal_queries(engine: Engine, requests: ibis.Table) -> ibis.Table:
    """Requests with their queries in normal form: each distinct text is normalised once, in Python, and joined."""
    written = requests.filter(requests["query"].notnull()).select("query").distinct().to_pyarrow()["query"]
    normal = engine.load("normal_queries", pa.table({"query": written, "normal": normalised_queries(written)}))
    joined = requests.left_join(normal, "query")
    return joined.select(*(name for name in requests.columns if name != "query"), query=joined.normal).select(
        *requests.columns
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


def _distinct(table: ibis.Table, column: str) -> list[str]:
    return sorted(table.select(column).distinct().to_pyarrow()[column].to_pylist())


def _scan(engine: Engine, directory: Path, schema: TableSchema, limits: Limits) -> ibis.Table:
    return engine.checked(_place(directory, schema), schema, limits)


def _read(directory: Path, schema: TableSchema, limits: Limits) -> pa.Table:
    return read_table(_place(directory, schema), schema, limits).select(list(schema.columns))


def _place(directory: Path, schema: TableSchema) -> Path:
    name = "scores" if schema is RELEVANCE_SCORES else schema.name
    path = find_table(directory, name)
    if path is None:
        raise BadInput(f"{directory}: no file {name}.parquet")
    return path
