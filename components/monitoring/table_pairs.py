"""What the `drift` command compares: two tables in files or folders of parts, or the tables of two log directories.

Any table with typed columns will do: numbers are compared as numbers, booleans and short text as categories, long text
by its length, times by the hour of day, queries by their mix and their length. Ids, lists and keys say nothing about a
distribution and are left out: by name, or because hardly any value comes twice. In a log, what was shown and what was
done is compared with the item's attributes beside it. What one side lacks or has as another type is a finding, and the
rest is compared.
"""

from collections import Counter
from collections.abc import Sequence
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
from components.monitoring.columns import ColumnSpec
from components.monitoring.config import MonitoringConfig
from components.monitoring.findings import EVERY_MARKET, Finding, Scope
from components.monitoring.table_sample import (
    NO_MARKET,
    PRIORITY,
    REPEATED,
    SINGLE,
    Sample,
    read_sample,
    sample_rows,
)

# Rows that belong together in the log contract's tables; elsewhere `--entity` says so.
_LOG_ENTITIES = {"requests": "user_id", "candidates": "user_id", "events": "user_id", "judgments": "query_id"}
_LABELS = frozenset({"label", "grade", "click", "clicked", "native_click", "purchase", "conversion"})
_PREDICTIONS = frozenset({"score", "p_click", "p_purchase", "prediction", "relevance"})
_SEGMENTS = frozenset({"market", "domain", "language", "locale"})
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
    """One table of both sides, as frames with a column `market`, and how its columns are compared.

    `facts` are findings that need no test: columns that are gone, new or of another type. `days` is how long each side
    is; (1, 1) where the table has no times. `rows` are how many rows each market has, sampled or not.
    """

    name: str
    reference: pd.DataFrame
    current: pd.DataFrame
    specs: list[ColumnSpec]
    facts: list[Finding]
    days: tuple[float, float]
    rows: tuple[Counter[str], Counter[str]]


def read_pairs(reference: Path, current: Path, config: MonitoringConfig, entity: str | None = None) -> list[TablePair]:
    """The tables of both sides.

    Args:
        reference, current: two tables, each a file or a folder of parts; or two log directories.
        config: the stage's, for the size of samples.
        entity: the column of two tables whose rows belong together; a log's are known.

    Raises:
        BadInput: a side is missing or unreadable, one is a log and the other is not, a side lacks the entity's column,
            or nothing is left to compare.
    """
    for path in (reference, current):
        if not path.exists():
            raise BadInput(f"{path}: no such file or directory")
    if _is_log(reference) != _is_log(current):
        raise BadInput(f"{reference} and {current}: one is a log directory, the other is not")
    if _is_log(reference):
        if entity:
            raise BadInput(f"entity {entity}: a log's entities are known; name one for two tables alone")
        pairs = _log_pairs(reference, current, config)
    else:
        sides = [read_sample(path, config.max_rows, config.seed) for path in (reference, current)]
        for path, side in zip((reference, current), sides, strict=True):
            if entity and entity not in side.table.column_names:
                found = ", ".join(side.table.column_names)
                raise BadInput(f"{path}: no column {entity}, which --entity names (found: {found})")
        pairs = [pair_samples(reference.name.split(".")[0], sides[0], sides[1], entity)]
    if not any(pair.specs for pair in pairs):
        raise BadInput(f"{reference} and {current}: no column to compare (ids, keys and lists are left out)")
    return pairs


def pair_samples(name: str, reference: Sample, current: Sample, entity: str | None = None) -> TablePair:
    """Two versions of a table, whose rows belong together by `entity`; None: each row is on its own."""
    old, new, facts = _same_columns(reference.table, current.table)
    columns = [column for column in old.column_names if column != entity and _compared(column, old, new)]
    specs = [spec for column in columns for spec in _specs(column, old, new, entity)]
    if columns and pc.mean(pc.equal(old[REPEATED], SINGLE)).as_py() >= 1 - _USUAL_REPEATS:
        specs.append(ColumnSpec(REPEATED, "categorical"))
    frames = [_frame(side, specs, entity) for side in (old, new)]
    if columns:
        specs.append(ColumnSpec("market", "categorical", entity=entity, segment="market"))
    return TablePair(name, frames[0], frames[1], specs, facts, _days(old, new), (reference.rows, current.rows))


def _is_log(path: Path) -> bool:
    """Whether it is a directory with a table of the log contract."""
    return path.is_dir() and any(find_table(path, schema.name) for schema in LOG_TABLES)


def _log_pairs(reference: Path, current: Path, config: MonitoringConfig) -> list[TablePair]:
    """The tables of the log contract that are on both sides, and a finding for each that is on one side."""
    sides = [_read_log(reference), _read_log(current)]
    pairs, nothing = [], pd.DataFrame({"market": []})
    for name in dict.fromkeys([*sides[0], *sides[1]]):
        if name in sides[0] and name in sides[1]:
            samples = [sample_rows([side[name]], config.max_rows, config.seed) for side in sides]
            pairs.append(pair_samples(name, samples[0], samples[1], _LOG_ENTITIES.get(name)))
            continue
        rows = tuple(side[name].num_rows if name in side else 0 for side in sides)
        fact = _schema("*", "the table is " + ("gone" if name in sides[0] else "new"), rows)
        pairs.append(TablePair(name, nothing, nothing, [], [fact], (1, 1), (Counter(), Counter())))
    return pairs


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


def _same_columns(old: pa.Table, new: pa.Table) -> tuple[pa.Table, pa.Table, list[Finding]]:
    """The columns that both sides have as the same kind, and a finding for each of the others.

    Where the reference has text and the current side numbers, text it is: a batch of a CSV file may hold digits alone.
    """
    rows = (old.num_rows, new.num_rows)
    names, now = ([name for name in table.column_names if not _is_index_name(name)] for table in (old, new))
    facts = [_schema(name, "the column is gone", rows) for name in names if name not in now]
    facts += [_schema(name, "the column is new", rows) for name in now if name not in names]
    kept = [name for name in names if name in now]
    for name in kept.copy():
        before, after = _kind(old[name]), _kind(new[name])
        if before == "text" and after == "number":
            new = new.set_column(new.column_names.index(name), name, new[name].cast(pa.string()))
        elif before != after and "empty" not in (before, after):
            kept.remove(name)
            if not _is_key(name):
                facts.append(_schema(name, f"type {old[name].type} -> {new[name].type}", rows))
    return old.select(kept), new.select(kept), facts


def _schema(column: str, broken: str, rows: tuple[int, ...]) -> Finding:
    return Finding("schema", EVERY_MARKET, column, "", rows[0], rows[1], severity="critical", broken=broken)


def _kind(values: pa.ChunkedArray) -> str:
    return next((kind for is_kind, kind in _KINDS if is_kind(values.type)), "other")


def _is_key(name: str) -> bool:
    return name == "id" or name.endswith(("_id", "_key"))


def _is_index_name(name: str) -> bool:
    """The row numbers that pandas writes beside the columns."""
    return name == "" or name.startswith(("__index_level_", "Unnamed: "))


def _compared(name: str, old: pa.Table, new: pa.Table) -> bool:
    kind = _kind(old[name]) if _kind(old[name]) != "empty" else _kind(new[name])
    if name in ("market", PRIORITY, REPEATED) or _is_key(name) or kind in ("other", "empty"):
        return False
    return kind != "number" or not (_is_index(old[name]) or _is_index(new[name]))


def _is_index(values: pa.ChunkedArray) -> bool:
    """Whether these are whole numbers of which hardly any comes twice."""
    if not pa.types.is_integer(values.type):
        return False
    return bool(pc.count_distinct(values).as_py() >= _DISTINCT_IDS * max(len(values) - values.null_count, 1))


def _specs(name: str, old: pa.Table, new: pa.Table, entity: str | None) -> list[ColumnSpec]:
    table = new if _kind(old[name]) == "empty" else old
    kind = _kind(table[name])
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


def _days(old: pa.Table, new: pa.Table) -> tuple[float, float]:
    """Days from the first to the last `timestamp` of each side."""
    if "timestamp" not in old.column_names or _kind(old["timestamp"]) != "time" or _kind(new["timestamp"]) != "time":
        return 1.0, 1.0
    return _span(old["timestamp"]), _span(new["timestamp"])


def _span(times: pa.ChunkedArray) -> float:
    values = times.to_pandas()
    values = pd.to_datetime(values[values.notna()], utc=True)
    whole_days = values.empty or (values == values.dt.normalize()).all()
    span = (values.max() - values.min()) / pd.Timedelta(days=1) if len(values) else 0.0
    return float(span + 1 if whole_days else max(span, 1 / 24))


def _frame(table: pa.Table, specs: Sequence[ColumnSpec], entity: str | None) -> pd.DataFrame:
    market = table["market"].cast(pa.string()) if "market" in table.column_names else None
    columns = {"market": market.to_pandas().fillna(NO_MARKET) if market is not None else EVERY_MARKET}
    for spec in specs:
        if spec.name.endswith(_HOUR):
            values = pc.floor(pc.divide(pc.hour(table[spec.name.removesuffix(_HOUR)]), _HOURS_A_BIN))
        elif spec.name.endswith(_LENGTH):
            values = pc.utf8_length(table[spec.name.removesuffix(_LENGTH)].cast(pa.string()))
        else:
            values = table[spec.name]
        columns[spec.name] = values.to_pandas()
    if entity:
        columns[entity] = table[entity].to_pandas()
    columns[PRIORITY] = table[PRIORITY].to_pandas()
    return pd.DataFrame(columns, index=pd.RangeIndex(table.num_rows))
