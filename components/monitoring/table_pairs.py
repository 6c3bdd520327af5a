"""What the `drift` command compares: two tables in files or folders of parts, or the tables of two logs.

Any table with typed columns will do: numbers are compared as numbers, booleans and short text as categories, long text
by its length, times by the hour of day, queries by their mix and their length. Ids, lists and keys say nothing about a
distribution and are left out: by name, or because hardly any value comes twice. In a log, what was shown and what was
done is compared with the item's attributes beside it. What one side lacks or has as another type is a finding, and the
rest is compared.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from components.contracts.errors import BadInput
from components.contracts.files import find_table
from components.contracts.items_per_market import ids_of_markets
from components.contracts.mapping import read_mapping
from components.contracts.schemas import LOG_TABLES
from components.contracts.tables import Limits, read_table
from components.contracts.tools.manifest import MANIFEST, read_manifest
from components.monitoring.config import MonitoringConfig
from components.monitoring.findings import EVERY_MARKET, Finding, Scope
from components.monitoring.profiles import TableProfile
from components.monitoring.serving_logs import LINES, is_serving_log, read_serving_log
from components.monitoring.table_sample import (
    NO_MARKET,
    PRIORITY,
    REPEATED,
    SINGLE,
    Sample,
    read_sample,
    sample_rows,
)
from components.monitoring.windows import ColumnSpec

# Rows that belong together in a log's tables; elsewhere `--entity` says so.
_LOG_ENTITIES = {
    "requests": "user_id",
    "candidates": "user_id",
    "events": "user_id",
    "impressions": "user_id",
    "judgments": "query_id",
    LINES: "user",
}
_LABELS = frozenset({"label", "grade", "click", "clicked", "native_click", "purchase", "conversion"})
_PREDICTIONS = frozenset({"score", "p_click", "p_purchase", "prediction", "relevance"})
_SEGMENTS = frozenset({"market", "domain", "language", "locale"})
# A served request's answer, and what says that the server failed: not that it refused a bad request.
_STATUS, _ANSWERED = "status", ("200", "OK")
_FAILED = " (failed)"
_FAILURES = r"^5\d\d$|^(UNAVAILABLE|INTERNAL|UNKNOWN|DEADLINE_EXCEEDED|RESOURCE_EXHAUSTED|ABORTED|DATA_LOSS)$"
# Rows that repeat others say nothing where that is usual.
_USUAL_REPEATS = 0.01
# Share of distinct values from which a column is an id.
_DISTINCT_IDS = 0.95
_HOUR, _LENGTH = " (hour)", " (characters)"
_HOURS_A_BIN = 3
_LONG_TEXT_CHARS = 40
_KINDS = (
    (pa.types.is_boolean, "flag"),
    (lambda t: pa.types.is_integer(t) or pa.types.is_floating(t) or pa.types.is_decimal(t), "number"),
    (lambda t: pa.types.is_string(t) or pa.types.is_large_string(t) or pa.types.is_dictionary(t), "text"),
    (pa.types.is_temporal, "time"),
    (pa.types.is_null, "empty"),
)


@dataclass(frozen=True)
class TablePair:
    """One table of both sides, and how its columns are compared.

    `reference` is a frame with a column `market`, or a profile of such; `current` is a frame. `facts` are findings that
    need no test: columns that are gone, new or of another type. `days` is how long each side is; (1, 1) where the table
    has no times. `rows` are how many rows each market has, sampled or not. `entity` is the column whose rows belong
    together. `sample` is the current side as it was read, if there is any.
    """

    name: str
    reference: pd.DataFrame | TableProfile
    current: pd.DataFrame
    specs: list[ColumnSpec]
    facts: list[Finding]
    days: tuple[float, float]
    rows: tuple[Mapping[str, int], Mapping[str, int]]
    entity: str | None = None
    sample: Sample | None = None


def read_side(path: Path, config: MonitoringConfig, entity: str | None = None) -> dict[str, Sample]:
    """The tables of a log directory or of a serving log, or the one in a file or in a folder of parts.

    Args:
        path: of one side.
        config: the stage's, for the size of samples.
        entity: the column of a table whose rows belong together; a log's are known.

    Raises:
        BadInput: it is missing or unreadable, lacks the entity's column, or is a log and an entity is named.
    """
    if not path.exists():
        raise BadInput(f"{path}: no such file or directory")
    if is_log(path):
        if entity:
            raise BadInput(f"entity {entity}: a log's entities are known; name one for two tables alone")
        if is_serving_log(path):
            return read_serving_log(path, config)
        tables = _read_log(path)
        return {name: sample_rows([table], config.max_rows, config.seed) for name, table in tables.items()}
    side = read_sample(path, config.max_rows, config.seed)
    if entity and entity not in side.table.column_names:
        found = ", ".join(side.table.column_names)
        raise BadInput(f"{path}: no column {entity}, which --entity names (found: {found})")
    return {path.name.split(".")[0]: side}


def read_pairs(reference: Path, current: Path, config: MonitoringConfig, entity: str | None = None) -> list[TablePair]:
    """The tables of both sides.

    Args:
        reference, current: two tables, each a file or a folder of parts; or two log directories, or two serving logs.
        config, entity: see `read_side`.

    Raises:
        BadInput: see `read_side`; or one side is a log and the other is not, or nothing is left to compare.
    """
    for path in (reference, current):
        if not path.exists():
            raise BadInput(f"{path}: no such file or directory")
    for kind, is_one in (("log directory", is_log), ("serving log", is_serving_log)):
        if is_one(reference) != is_one(current):
            raise BadInput(f"{reference} and {current}: one is a {kind}, the other is not")
    old, new = (read_side(path, config, entity) for path in (reference, current))
    if not is_log(reference):  # one table each, whatever their names
        new = dict(zip(old, new.values(), strict=True))
    pairs = pair_sides(old, new, entities_of(reference, [*old, *new], entity))
    if not any(pair.specs for pair in pairs):
        raise BadInput(f"{reference} and {current}: no column to compare (ids, keys and lists are left out)")
    return pairs


def entities_of(path: Path, tables: Iterable[str], entity: str | None) -> dict[str, str | None]:
    """The column whose rows belong together, by table."""
    return {name: _LOG_ENTITIES.get(name) if is_log(path) else entity for name in tables}


def pair_sides(
    old: Mapping[str, Sample], new: Mapping[str, Sample], entities: Mapping[str, str | None]
) -> list[TablePair]:
    """The tables that are on both sides, and a finding for each that is on one side."""
    pairs = []
    for name in dict.fromkeys([*old, *new]):
        if name in old and name in new:
            pairs.append(pair_samples(name, old[name], new[name], entities[name]))
        else:
            pairs.append(lone_table(name, new.get(name), entities.get(name)))
    return pairs


def lone_table(name: str, sample: Sample | None, entity: str | None) -> TablePair:
    """A table that one side lacks: the current one, or the reference if there is a sample."""
    rows = (0, sum(sample.rows.values()) if sample else 0)
    fact = _schema("*", f"the table is {'new' if sample else 'gone'}", rows)
    nothing = pd.DataFrame({"market": []})
    return TablePair(name, nothing, nothing, [], [fact], (1, 1), (Counter(), Counter()), entity, sample)


def pair_samples(name: str, reference: Sample, current: Sample, entity: str | None = None) -> TablePair:
    """Two versions of a table, whose rows belong together by `entity`; None: each row is on its own."""
    old, new, facts = same_columns(reference.table, current.table)
    columns = [column for column in old.column_names if column != entity and _compared(column, old, new)]
    specs = [spec for column in columns for spec in _specs(column, old, new, entity)]
    if columns and pc.mean(pc.equal(old[REPEATED], SINGLE)).as_py() >= 1 - _USUAL_REPEATS:
        specs.append(ColumnSpec(REPEATED, "categorical"))
    frames = [frame_of(side, specs, entity) for side in (old, new)]
    if columns:
        specs.append(ColumnSpec("market", "categorical", entity=entity, segment="market"))
    return TablePair(
        name, frames[0], frames[1], specs, facts, span_of(old, new), (reference.rows, current.rows), entity, current
    )


def is_log(path: Path) -> bool:
    """Whether it is a directory with a table of the log contract, or a serving log."""
    return path.is_dir() and (is_serving_log(path) or any(find_table(path, schema.name) for schema in LOG_TABLES))


def _read_log(directory: Path) -> dict[str, pa.Table]:
    limits = Limits(read_manifest(directory)["markets"]) if (directory / MANIFEST).is_file() else Limits()
    mapping, tables = read_mapping(directory), {}
    for schema in LOG_TABLES:
        path = find_table(directory, schema.name)
        if path is not None:
            tables[schema.name] = read_table(path, schema, limits, mapping)
    if mapping.items_per_market:
        tables = ids_of_markets(tables)
    if "events" in tables and "users" in tables:
        tables["events"] = tables["events"].join(tables["users"].select(["user_id", "market"]), "user_id")
    if "candidates" in tables and "requests" in tables:
        requests = tables["requests"].select(["request_id", "user_id", "market", "domain"])
        tables["candidates"] = tables["candidates"].join(requests, "request_id")
    if "items" in tables:
        attributes = tables["items"].select(["item_id", "category", "price", "brand"])
        for name in {"events", "candidates"} & tables.keys():
            tables[name] = tables[name].join(attributes, "item_id")
    return tables


def same_columns(old: pa.Table, new: pa.Table) -> tuple[pa.Table, pa.Table, list[Finding]]:
    """The columns that both sides have as the same kind, and a finding for each of the others.

    Where the reference has text and the current side numbers, text it is: a batch of a CSV file may hold digits alone.
    """
    rows = (old.num_rows, new.num_rows)
    names, now = ([name for name in table.column_names if not _is_index_name(name)] for table in (old, new))
    facts = [_schema(name, "the column is gone", rows) for name in names if name not in now]
    facts += [_schema(name, "the column is new", rows) for name in now if name not in names]
    kept = [name for name in names if name in now]
    for name in kept.copy():
        before, after = kind_of(old[name]), kind_of(new[name])
        if before == "text" and after == "number":
            new = new.set_column(new.column_names.index(name), name, new[name].cast(pa.string()))
        elif before != after and "empty" not in (before, after):
            kept.remove(name)
            if not _is_key(name):
                facts.append(_schema(name, f"type {old[name].type} -> {new[name].type}", rows))
    return old.select(kept), new.select(kept), facts


def _schema(column: str, broken: str, rows: tuple[int, ...]) -> Finding:
    return Finding("schema", EVERY_MARKET, column, "", rows[0], rows[1], severity="critical", broken=broken)


def kind_of(values: pa.ChunkedArray) -> str:
    """One of number, text, time, flag, empty, other."""
    return next((kind for is_kind, kind in _KINDS if is_kind(values.type)), "other")


def _is_key(name: str) -> bool:
    return name == "id" or name.endswith(("_id", "_key"))


def _is_index_name(name: str) -> bool:
    """The row numbers that pandas writes beside the columns."""
    return name == "" or name.startswith(("__index_level_", "Unnamed: "))


def _compared(name: str, old: pa.Table, new: pa.Table) -> bool:
    kind = kind_of(old[name]) if kind_of(old[name]) != "empty" else kind_of(new[name])
    if name in ("market", PRIORITY, REPEATED) or _is_key(name) or kind in ("other", "empty"):
        return False
    return kind != "number" or not (_is_index(old[name]) or _is_index(new[name]))


def _is_index(values: pa.ChunkedArray) -> bool:
    """Whether these are whole numbers of which hardly any comes twice."""
    if not pa.types.is_integer(values.type):
        return False
    return bool(pc.count_distinct(values).as_py() >= _DISTINCT_IDS * max(len(values) - values.null_count, 1))


def _specs(name: str, old: pa.Table, new: pa.Table, entity: str | None) -> list[ColumnSpec]:
    table = new if kind_of(old[name]) == "empty" else old
    kind = kind_of(table[name])
    if name == _STATUS and pc.any(pc.is_in(table[name].cast(pa.string()), pa.array(_ANSWERED))).as_py():
        return [ColumnSpec(name + _FAILED, "numeric", "errors", entity), ColumnSpec(name, "categorical", entity=entity)]
    scope: Scope = "label" if name in _LABELS else "prediction" if name in _PREDICTIONS else "feature"
    if kind == "number":
        return [ColumnSpec(name, "numeric", scope, entity)]
    if kind == "time":
        return [ColumnSpec(name + _HOUR, "categorical", entity=entity)]
    mix = ColumnSpec(name, "categorical", scope, entity, name if name in _SEGMENTS else "")
    length = ColumnSpec(name + _LENGTH, "numeric", entity=entity)
    if kind == "text" and name == "query":
        return [mix, length]
    return [length if kind == "text" and _is_long(name, table[name]) else mix]


def _is_long(name: str, values: pa.ChunkedArray) -> bool:
    mean_chars = pc.mean(pc.utf8_length(values.cast(pa.string()))).as_py() or 0
    return name == "title" or mean_chars > _LONG_TEXT_CHARS


def span_of(old: pa.Table, new: pa.Table) -> tuple[float, float]:
    """Days from the first to the last `timestamp` of each side."""
    if (
        "timestamp" not in old.column_names
        or kind_of(old["timestamp"]) != "time"
        or kind_of(new["timestamp"]) != "time"
    ):
        return 1.0, 1.0
    return _span(old["timestamp"]), _span(new["timestamp"])


def _span(times: pa.ChunkedArray) -> float:
    values = times.to_pandas()
    values = pd.to_datetime(values[values.notna()], utc=True)
    whole_days = values.empty or (values == values.dt.normalize()).all()
    span = (values.max() - values.min()) / pd.Timedelta(days=1) if len(values) else 0.0
    return float(span + 1 if whole_days else max(span, 1 / 24))


def base_column(spec: ColumnSpec) -> str:
    """The table's column that a spec compares."""
    return spec.name.removesuffix(_HOUR).removesuffix(_LENGTH).removesuffix(_FAILED)


def frame_of(table: pa.Table, specs: Sequence[ColumnSpec], entity: str | None) -> pd.DataFrame:
    """The specs' columns of a table, with `market`, the entity's and `_priority`."""
    market = table["market"].cast(pa.string()) if "market" in table.column_names else None
    columns = {"market": market.to_pandas().fillna(NO_MARKET) if market is not None else EVERY_MARKET}
    for spec in specs:
        if spec.name.endswith(_HOUR):
            values = pc.floor(pc.divide(pc.hour(table[base_column(spec)]), _HOURS_A_BIN))
        elif spec.name.endswith(_LENGTH):
            values = pc.utf8_length(table[base_column(spec)].cast(pa.string()))
        elif spec.name.endswith(_FAILED):
            failed = pc.match_substring_regex(table[base_column(spec)].cast(pa.string()), _FAILURES)
            values = failed.cast(pa.int8())
        else:
            values = table[spec.name]
        columns[spec.name] = values.to_pandas()
    if entity:
        columns[entity] = table[entity].to_pandas()
    columns[PRIORITY] = table[PRIORITY].to_pandas()
    return pd.DataFrame(columns, index=pd.RangeIndex(table.num_rows))
