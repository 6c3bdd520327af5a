"""What the `drift` command compares: two files, or the common tables of two log directories.

Any table with typed columns will do: numbers are compared as numbers, booleans and short text as categories, long text
by its length, times by the hour of day, queries by their mix and their length. Ids, lists and keys say nothing about a
distribution and are left out. In a log, what was shown and what was done is compared with the item's attributes beside
it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from components.contracts.errors import BadInput
from components.contracts.schemas import LOG_TABLES
from components.contracts.tables import Limits, find_table, read_table
from components.contracts.tools.manifest import MANIFEST, read_manifest
from components.monitoring.columns import ColumnSpec
from components.monitoring.findings import EVERY_MARKET

# Rows of one of these belong together, the first that a table has.
_ENTITIES = ("user_id", "query_id", "request_id", "item_id")
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
    """One table of both sides, as frames with a column `market`, and how its columns are compared."""

    name: str
    reference: pd.DataFrame
    current: pd.DataFrame
    specs: list[ColumnSpec]


def read_pairs(reference: Path, current: Path) -> list[TablePair]:
    """The tables of both sides.

    Raises:
        BadInput: a side is missing or unreadable, one is a file and the other a directory, a table or column is on one
            side only, a column's type differs, or nothing is left to compare.
    """
    for path in (reference, current):
        if not path.exists():
            raise BadInput(f"{path}: no such file or directory")
    if reference.is_dir() != current.is_dir():
        raise BadInput(f"{reference} and {current}: one is a directory, the other a file")
    if reference.is_dir():
        tables = _log_tables(reference, current)
    else:
        tables = {reference.stem.removesuffix(".csv"): (_read_file(reference), _read_file(current))}
    pairs = []
    for name, (old, new) in tables.items():
        _check_columns(old, new, f"{reference} and {current}: {name}")
        specs = [spec for column in old.column_names if _compared(column, old) for spec in _specs(column, old)]
        if specs:
            mix = ColumnSpec("market", "categorical", entity=_entity(old))
            pairs.append(TablePair(name, _frame(old, specs), _frame(new, specs), [*specs, mix]))
    if not pairs:
        raise BadInput(f"{reference} and {current}: no column to compare (ids, keys and lists are left out)")
    return pairs


def _log_tables(reference: Path, current: Path) -> dict[str, tuple[pa.Table, pa.Table]]:
    """The tables of the log contract that are on both sides, `market` added where a table names users alone."""
    sides = [_read_log(reference), _read_log(current)]
    for name in sides[0].keys() ^ sides[1].keys():
        here, there = (reference, current) if name in sides[0] else (current, reference)
        raise BadInput(f"{there}: no table {name}, which {here} has")
    if not sides[0]:
        raise BadInput(f"{reference}: none of the tables {', '.join(schema.name for schema in LOG_TABLES)}")
    return {name: (sides[0][name], sides[1][name]) for name in sides[0]}


def _read_log(directory: Path) -> dict[str, pa.Table]:
    limits = Limits(read_manifest(directory)["markets"]) if (directory / MANIFEST).is_file() else Limits()
    tables = {}
    for schema in LOG_TABLES:
        path = find_table(directory, schema.name)
        if path is not None:
            tables[schema.name] = read_table(path, schema, limits)
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


def _read_file(path: Path) -> pa.Table:
    try:
        table = pq.read_table(path) if path.suffix == ".parquet" else pa_csv.read_csv(path)
    except (pa.ArrowException, OSError) as error:
        raise BadInput(f"{path}: not a readable Parquet or CSV file ({str(error).splitlines()[0]})") from error
    if table.num_rows == 0:
        raise BadInput(f"{path}: empty, 0 rows")
    return table


def _check_columns(old: pa.Table, new: pa.Table, where: str) -> None:
    one_sided = sorted(set(old.column_names) ^ set(new.column_names))
    if one_sided:
        raise BadInput(f"{where}: column {', '.join(one_sided)} on one side only")
    for name in old.column_names:
        kinds = {_kind(old[name]), _kind(new[name])} - {"empty"}
        if len(kinds) > 1:
            raise BadInput(f"{where}: column {name} is {old[name].type} on one side, {new[name].type} on the other")


def _kind(values: pa.ChunkedArray) -> str:
    return next((kind for is_kind, kind in _KINDS if is_kind(values.type)), "other")


def _compared(name: str, table: pa.Table) -> bool:
    return name != "market" and not name.endswith(("_id", "_key")) and _kind(table[name]) not in ("other", "empty")


def _specs(name: str, table: pa.Table) -> list[ColumnSpec]:
    kind, entity = _kind(table[name]), _entity(table)
    if kind == "number":
        return [ColumnSpec(name, "numeric", entity=entity, log_scale=name == "price")]
    if kind == "time":
        return [ColumnSpec(name + _HOUR, "categorical", entity=entity)]
    mix = ColumnSpec(name, "categorical", entity=entity)
    length = ColumnSpec(name + _LENGTH, "numeric", entity=entity)
    if kind == "text" and name == "query":
        return [mix, length]
    return [length if kind == "text" and _is_long(name, table[name]) else mix]


def _entity(table: pa.Table) -> str | None:
    return next((column for column in _ENTITIES if column in table.column_names), None)


def _is_long(name: str, values: pa.ChunkedArray) -> bool:
    mean_chars = pc.mean(pc.utf8_length(values.cast(pa.string()))).as_py() or 0
    return name == "title" or mean_chars > _LONG_TEXT_CHARS


def _frame(table: pa.Table, specs: Sequence[ColumnSpec]) -> pd.DataFrame:
    columns = {"market": table["market"].to_pandas() if "market" in table.column_names else EVERY_MARKET}
    for spec in specs:
        if spec.name.endswith(_HOUR):
            values = pc.floor(pc.divide(pc.hour(table[spec.name.removesuffix(_HOUR)]), _HOURS_A_BIN))
        elif spec.name.endswith(_LENGTH):
            values = pc.utf8_length(table[spec.name.removesuffix(_LENGTH)].cast(pa.string()))
        else:
            values = table[spec.name]
        columns[spec.name] = values.to_pandas()
    for entity in {spec.entity for spec in specs if spec.entity}:
        columns[entity] = table[entity].to_pandas()
    return pd.DataFrame(columns, index=pd.RangeIndex(table.num_rows))
