"""The stage's inputs as Ibis tables: a log and its relevance scores, scanned by the engine.

Values were checked when the log was loaded; here it is only checked that files and columns are there.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import ibis
import pyarrow as pa
import pyarrow.parquet as pq

from components.contracts import schemas
from components.contracts.engine import Engine
from components.contracts.errors import BadInput
from components.contracts.schemas import TableSchema
from components.contracts.text import query_key

SECONDS_A_DAY = 86_400

# Timestamp of rows that hold at any time: the catalogue, and entities before their first event.
ALWAYS = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class LogTables:
    """What feature tables are made of.

    Attributes:
        engine: where the tables lie.
        items, users, requests, candidates, events: the log's tables.
        scores: relevance of (market, normalised query, item_id).
        query_keys: query_key of each distinct (market, query) of the search requests, as written in the log.
    """

    engine: Engine
    items: ibis.Table
    users: ibis.Table
    requests: ibis.Table
    candidates: ibis.Table
    events: ibis.Table
    scores: ibis.Table
    query_keys: ibis.Table


def open_source(engine: Engine, log: Path, scores: Path) -> LogTables:
    """Open the Parquet files of a log directory and a scores directory on an engine.

    Raises:
        BadInput: a file is missing or unreadable, or lacks a column.
    """

    def read(path: Path, schema: TableSchema) -> ibis.Table:
        check_columns(path, schema)
        return engine.scan(path).select(*schema.columns)

    requests = read(log / "requests.parquet", schemas.REQUESTS)
    searched = requests.filter(requests.domain == "search").select("market", "query").distinct()
    texts = searched.to_pyarrow()
    keys = [query_key(m, q) for m, q in zip(texts["market"].to_pylist(), texts["query"].to_pylist(), strict=True)]
    keyed = engine.load("query_keys", texts.append_column("query_key", pa.array(keys, pa.string())))
    return LogTables(
        engine=engine,
        items=read(log / "items.parquet", schemas.ITEMS),
        users=read(log / "users.parquet", schemas.USERS),
        requests=requests,
        candidates=read(log / "candidates.parquet", schemas.CANDIDATES),
        events=read(log / "events.parquet", schemas.EVENTS),
        scores=read(scores / "scores.parquet", schemas.RELEVANCE_SCORES),
        query_keys=keyed,
    )


def check_columns(path: Path, schema: TableSchema) -> None:
    """BadInput unless `path` is a readable Parquet file with the schema's columns."""
    try:
        found = pq.read_schema(path).names
    except FileNotFoundError as error:
        raise BadInput(f"{path}: no such file") from error
    except (pa.ArrowException, OSError) as error:
        raise BadInput(f"{path}: not a readable Parquet file ({str(error).splitlines()[0]})") from error
    missing = [name for name in schema.columns if name not in found]
    if missing:
        raise BadInput(f"{path}: missing column {', '.join(missing)} (found: {', '.join(found)})")


def day_of(timestamp: ibis.expr.types.TimestampValue) -> ibis.expr.types.IntegerValue:
    """Days since 1970-01-01 UTC: whole numbers mean the same day whatever time zone a session has."""
    return (timestamp.epoch_seconds() // SECONDS_A_DAY).cast("int64")


def midnight(day: ibis.expr.types.IntegerValue) -> ibis.expr.types.TimestampValue:
    """The instant a day begins, from what `day_of` returns."""
    return (day * SECONDS_A_DAY).as_timestamp("s")
