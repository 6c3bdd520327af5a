"""Logs that users bring: their files checked against the log contract, then written as the stages expect them.

Choices (ours):

- Everything is checked before anything is written; the first broken rule is one error.
- Extra columns are kept, and nothing is repaired: what is wrong is for its owner to mend.
- Beyond each column's rules: ids refer to rows that exist, searches alone have a query, a query id means one query.
- Rows that contradict other rows are dropped and counted, up to a share of their table (`contradictions`).
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from components.contracts.casting import refuse, to_utc
from components.contracts.errors import BadInput, Findings
from components.contracts.files import SUFFIXES, find_table, suffix_of
from components.contracts.items_per_market import ids_of_markets
from components.contracts.locations import data_version, local_copy
from components.contracts.mapping import MAPPING, read_mapping
from components.contracts.schemas import JUDGMENTS, LOG_TABLES, TableSchema
from components.contracts.tables import Limits, read_log, read_table, write_table
from components.contracts.text import normalise_query, normalise_title
from components.contracts.tools.distinct import map_distinct
from components.contracts.tools.log import get_logger
from components.contracts.tools.manifest import file_digest, stage_directory, tree_digest, write_manifest
from components.marketplace.logs.config import LoadConfig
from components.marketplace.logs.contradictions import Dropped, drop_contradictions, refuse_many
from components.marketplace.report import write_log_report

_logger = get_logger(__name__)


@contextmanager
def located(data: str, judgments: str, version: str) -> Iterator[tuple[Path | None, Path | None]]:
    """Paths of both locations (None for an empty one), while the context lasts: what a store holds is copied here.

    Raises:
        BadInput: a location can't be read, or holds something else than `version`, under which it would be cached.
    """
    with tempfile.TemporaryDirectory() as scratch:
        places = {"data": data, "judgments": judgments}
        paths = [local_copy(where, Path(scratch, name)) if where else None for name, where in places.items()]
        if (found := data_version(data, judgments)) != version:
            changed = f"version {version[:12]} is {found[:12]} now"
            raise BadInput(f"{data or judgments}: changed since the run started ({changed}): run again")
        yield paths[0], paths[1]


@dataclass(frozen=True)
class CheckedLog:
    """A log that may be loaded.

    Attributes:
        tables: the six, by name, without the rows that were dropped.
        paths: where each of them was read.
        dropped: what was left out, by table and reason.
        end: where the windows of later steps end.
    """

    tables: dict[str, pa.Table]
    paths: dict[str, Path]
    dropped: list[Dropped]
    end: datetime


def check_log(data: Path, judgments: Path | None, markets: Sequence[str], as_of: datetime) -> CheckedLog:
    """Read a log of six files and check all that `load_log` does, but for how much was dropped.

    Arguments are those of `load_log`.

    Raises:
        BadInput: with all that is wrong in any file. Contradictions are looked for in a log that has no other fault.
    """
    now = to_utc(as_of)
    apart = _judgments_path(judgments) if judgments else None
    checks = {"requests": _check_requests, "judgments": _check_query_ids}
    tables = read_log(data, Limits(_checked(markets), now), apart, checks)
    paths = {schema.name: _locate(data, schema) for schema in LOG_TABLES if apart is None or schema is not JUDGMENTS}
    paths[JUDGMENTS.name] = apart or paths[JUDGMENTS.name]
    tables, dropped = drop_contradictions(tables)
    return CheckedLog(tables, paths, dropped, data_end(tables, now))


def load_log(
    data: Path,
    judgments: Path | None,
    markets: Sequence[str],
    as_of: datetime,
    out: Path,
    config: LoadConfig = LoadConfig(),  # noqa: B008 (frozen)
) -> datetime:
    """Check a log of six files and write it to the directory `out`, extra columns kept; returns where its windows end.

    Rows that contradict other rows are left out; the manifest, the report and the log say how many, and why.

    Args:
        data: directory with one file (.parquet, .csv or .csv.gz) for each of items, users, requests, candidates, events
            and, unless given apart, judgments.
        judgments: a file, or a directory that holds `judgments`; takes the place of one in `data`.
        markets: the markets the log may name; their order sets market codes.
        as_of: what counts as now; later timestamps are an error (naive: taken as UTC).
        out: directory to make; nothing is written there unless all is well.
        config: how many rows may contradict others.

    Raises:
        BadInput: what breaks the contract: file, column, how many of how many rows, a first example.
    """
    log = check_log(data, judgments, markets, as_of)
    refuse_many(log.dropped, config.max_dropped, str(data))
    _write(log.tables, log.paths, markets, log.end.isoformat(), out, log.dropped)
    return log.end


def data_end(tables: Mapping[str, pa.Table], as_of: datetime) -> datetime:
    """Where a log's windows end: `as_of`, or the midnight after the last request or event where that is earlier."""
    latest = [pc.max(tables[name]["timestamp"]).as_py() for name in ("requests", "events") if tables[name].num_rows]
    last = max(latest, default=as_of)
    return min(as_of, datetime(last.year, last.month, last.day, tzinfo=UTC) + timedelta(days=1))


def check_judgments(judgments: Path, markets: Sequence[str]) -> tuple[pa.Table, Path]:
    """Read judgments and check all that `load_judgments` does; the table, and the file that it was read from."""
    path = _judgments_path(judgments)
    mapping, findings = read_mapping(path.parent), Findings()
    table = read_table(path, JUDGMENTS, Limits(_checked(markets)), mapping)
    with findings.gather():
        _check_query_ids(table, str(path))
    if mapping.items_per_market:
        table = ids_of_markets({JUDGMENTS.name: table})[JUDGMENTS.name]
    with findings.gather():
        _check_titles(table, str(path))
    findings.refuse()
    return table, path


def load_judgments(judgments: Path, markets: Sequence[str], out: Path) -> None:
    """Check judgments and write a log directory that holds them alone: the input of the relevance half.

    Arguments and errors are those of `load_log`.
    """
    table, path = check_judgments(judgments, markets)
    _write({JUDGMENTS.name: table}, {JUDGMENTS.name: path}, markets, None, out, [])


def _write(
    tables: Mapping[str, pa.Table],
    paths: Mapping[str, Path],
    markets: Sequence[str],
    as_of: str | None,
    out: Path,
    dropped: Sequence[Dropped],
) -> None:
    with stage_directory(out) as root:
        for name, table in tables.items():
            write_table(table, root / f"{name}.parquet")
        rows = {name: table.num_rows for name, table in tables.items()}
        write_log_report(root, simulated=False, dropped=[asdict(part) for part in dropped])
        write_manifest(
            root,
            "log",
            config={"markets": list(markets)},
            inputs={name: tree_digest(path) if path.is_dir() else file_digest(path) for name, path in paths.items()},
            metrics={"rows": rows, "dropped": [asdict(part) for part in dropped]},
            simulated=False,
            markets=list(markets),
            as_of=as_of,
        )
    for part in dropped:
        _logger.warning("%s", part)
    _logger.info("loaded %s", ", ".join(f"{count} {name}" for name, count in rows.items()))


def _checked(markets: Sequence[str]) -> Sequence[str]:
    if not markets or len(set(markets)) < len(markets) or not all(market.strip() for market in markets):
        raise BadInput(f"markets: expected distinct names, found {list(markets)}")
    return markets


def _locate(directory: Path, schema: TableSchema) -> Path:
    path = find_table(directory, schema.name)
    if path is None:
        raise BadInput(f"{directory}: no file {' or '.join(schema.name + suffix for suffix in SUFFIXES)}")
    return path


def _judgments_path(judgments: Path) -> Path:
    if judgments.is_dir() and not any(suffix_of(part) for part in judgments.glob("part*")):
        return _locate(judgments, JUDGMENTS)
    if judgments.is_dir():
        return judgments
    if suffix_of(judgments) is None:
        raise BadInput(f"{judgments}: expected a name that ends in {', '.join(SUFFIXES)}")
    return judgments


def _check_requests(requests: pa.Table, where: str) -> None:
    """Search requests state a query, others do not."""
    search = pc.equal(requests["domain"], "search")
    stated = requests["query"].is_valid()
    column = f"{where}: column query"
    refuse(pc.and_not(search, stated), requests["request_id"], column, "null in a search request")
    refuse(pc.and_not(stated, search), requests["request_id"], column, "not null outside search")


def _check_query_ids(judgments: pa.Table, where: str) -> None:
    """A query id stands for one query (letter case and spaces aside) of one market."""
    meanings = judgments.group_by(["query_id", "market", "query"]).aggregate([])
    normalised = pa.array([normalise_query(query) for query in meanings["query"].to_pylist()], pa.string())
    meanings = meanings.set_column(2, "query", normalised).group_by(["query_id", "market", "query"]).aggregate([])
    per_id = meanings.group_by("query_id").aggregate([([], "count_all")])
    ambiguous = per_id.filter(pc.greater(per_id["count_all"], 1))["query_id"]
    at_fault = pc.is_in(judgments["query_id"], value_set=ambiguous.combine_chunks())
    refuse(at_fault, judgments["query_id"], f"{where}: column query_id", "stands for several queries")


def _check_titles(judgments: pa.Table, where: str) -> None:
    """Without a catalogue, an item is what its judgments say: it has one market, and one title when normalised."""
    items = judgments.group_by(["item_id", "market", "title"]).aggregate([])
    titles = pa.array(map_distinct(normalise_title, items["title"].to_pylist()), pa.string())
    items = items.set_column(2, "title", titles).group_by(["item_id", "market", "title"]).aggregate([])
    per_id = items.group_by("item_id").aggregate([([], "count_all"), ("market", "count_distinct")])
    several = per_id.filter(pc.greater(per_id["count_all"], 1))
    findings = Findings()
    for is_market, problem in (
        (True, f"names items of several markets (state items_per_market: true in {MAPPING}, and ids become MARKET:ID)"),
        (False, "has several titles in one market"),
    ):
        ids = several.filter(pc.equal(pc.greater(several["market_count_distinct"], 1), is_market))["item_id"]
        at_fault = pc.is_in(judgments["item_id"], value_set=ids.combine_chunks())
        with findings.gather():
            refuse(at_fault, judgments["item_id"], f"{where}: column item_id", problem)
    findings.refuse()
