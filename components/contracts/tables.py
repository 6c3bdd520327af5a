"""Reading and writing tables against their declared schemas; every violation is one BadInput.

A message names the file, the column, and how many of how many rows are at fault, with a first example.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.contracts.casting import cast_column, faults_of, refuse, refuse_thousands, whole_ids
from components.contracts.errors import BadInput, Fault, Findings
from components.contracts.files import SUFFIXES, find_table, read_batches, read_file
from components.contracts.items_per_market import ids_of_markets, keyed_by_market
from components.contracts.mapping import LogMapping, read_mapping
from components.contracts.markets import MARKETS
from components.contracts.schemas import LOG_TABLES, Column, TableSchema
from components.contracts.text import BLANK, GROWTH, too_long

# A check of one table beyond its columns' rules: raises BadInput with `where` in the message.
Check = Callable[[pa.Table, str], None]


@dataclass(frozen=True)
class Limits:
    """What values are checked against: the profile's markets, and the instant after which data is "future"."""

    markets: Sequence[str] = MARKETS
    as_of: datetime | None = None


def read_table(
    path: Path, schema: TableSchema, limits: Limits | None = None, mapping: LogMapping | None = None
) -> pa.Table:
    """Read one table, a file or a folder of its parts, cast its declared columns and check them.

    Raises:
        BadInput: the file is unreadable, empty, lacks a column or breaks a rule of the schema.
    """
    mapping = mapping or LogMapping()
    declared = keyed_by_market(schema) if mapping.items_per_market else schema
    return validate(read_file(path, declared, mapping), declared, str(path), limits, mapping)


def read_shards(path: Path, schema: TableSchema, limits: Limits, rows: int) -> Iterator[pa.Table]:
    """The same file, `rows` rows at a time and never whole in memory; keys are checked within a shard only, and columns
    of a CSV file that the schema does not declare are text.

    Raises:
        BadInput: as `read_table`; the message names the shard's first row where a rule is broken.
    """
    start = 0
    for batch in _sized(read_batches(path), rows):
        where = str(path) if start == 0 else f"{path} (from row {start})"
        yield validate(batch, schema, where, limits)
        start += batch.num_rows
    if start == 0:
        raise BadInput(f"{path}: empty, 0 rows")


def read_log(
    directory: Path,
    limits: Limits | None = None,
    judgments: Path | None = None,
    checks: Mapping[str, Check] | None = None,
) -> dict[str, pa.Table]:
    """Read the six tables of the log contract from `directory` and check references between them.

    Args:
        directory: where the tables lie, and `mapping.yaml` where they are written in a way of their own.
        limits: what values are checked against.
        judgments: that table's file where it lies elsewhere, with a mapping of its own beside it.
        checks: by table, what is checked beyond its columns' rules.

    Raises:
        BadInput: with all that is wrong in any of the tables.
    """
    if not directory.is_dir():
        raise BadInput(f"{directory}: no such directory")
    mapping = read_mapping(directory)
    tables, findings = {}, Findings()
    for schema in LOG_TABLES:
        with findings.gather():
            apart = judgments if schema.name == "judgments" else None
            path = apart or find_table(directory, schema.name)
            if path is None:
                raise BadInput(f"{directory}: no file {' or '.join(schema.name + suffix for suffix in SUFFIXES)}")
            chosen = read_mapping(apart.parent) if apart else mapping
            table = read_table(path, schema, limits, chosen)
            tables[schema.name] = table
            if checks and schema.name in checks:
                checks[schema.name](table, str(path))
    if mapping.items_per_market:
        tables = ids_of_markets(tables)
    with findings.gather():
        check_references(tables, str(directory))
    findings.refuse()
    return tables


def check_references(tables: Mapping[str, pa.Table], where: str) -> None:
    """Every id that refers to another of the tables exists there, or BadInput."""
    findings = Findings()
    for schema in LOG_TABLES:
        for column, target in schema.references:
            if not {schema.name, target} <= tables.keys():
                continue
            target_column = {"users": "user_id", "items": "item_id", "requests": "request_id"}[target]
            values = tables[schema.name][column]
            known = pc.is_in(values, value_set=tables[target][target_column].combine_chunks())
            dangling = pc.and_(pc.is_valid(values), pc.invert(known))
            with findings.gather():
                refuse(dangling, values, f"{where}: {schema.name}.{column}", f"not found in {target}.{target_column}")
    findings.refuse()


def write_table(table: pa.Table, path: Path) -> None:
    """Write Parquet (zstd) under a temporary name, then rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as staging:
        pq.write_table(table, Path(staging) / "table.parquet", compression="zstd")
        (Path(staging) / "table.parquet").rename(path)


def write_tables(tables: Iterable[pa.Table], path: Path, level: int | None = None) -> int:
    """The same of tables of one schema, one at least, end to end and one at a time; returns how many rows they have.

    Args:
        tables: each becomes row groups of its own.
        path: the file.
        level: of zstd, by default Arrow's.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as staging:
        rest = iter(tables)
        first = next(rest)
        rows = 0
        with pq.ParquetWriter(
            Path(staging) / "table.parquet", first.schema, compression="zstd", compression_level=level
        ) as file:
            for table in chain([first], rest):
                file.write_table(table)
                rows += table.num_rows
        (Path(staging) / "table.parquet").rename(path)
    return rows


def validate(
    table: pa.Table,
    schema: TableSchema,
    where: str,
    limits: Limits | None = None,
    mapping: LogMapping | None = None,
) -> pa.Table:
    """Cast the declared columns, check every rule and return the table, extra columns kept after the declared ones.

    Raises:
        BadInput: with all that is wrong.
    """
    limits, mapping = limits or Limits(), mapping or LogMapping()
    missing = [name for name in schema.columns if name not in table.column_names]
    if missing:
        found = ", ".join(table.column_names)
        raise BadInput(f"{where}: missing column {', '.join(missing)} in {table.num_rows} rows (found: {found})")
    if table.num_rows == 0:
        raise BadInput(f"{where}: empty, 0 rows")
    columns, findings = {}, Findings()
    for name, rule in schema.columns.items():
        with findings.gather():
            place = f"{where}: column {name}"
            stated = table[name]
            if name == "grade" and mapping.grades:
                stated = _graded(stated, mapping.grades, place)
            columns[name] = _cast(stated, rule, place, mapping)
            findings.faults += _broken_rules(columns[name], rule, place, limits)
    if set(schema.key) <= columns.keys():
        with findings.gather():
            _check_key(pa.table({name: columns[name] for name in schema.key}), schema, where)
    findings.refuse()
    columns |= {name: table[name] for name in table.column_names if name not in schema.columns}
    return pa.table(columns)


def _sized(tables: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """The same rows in tables of `rows` rows; the last may be shorter."""
    held: pa.Table | None = None
    for table in tables:
        held = table if held is None else pa.concat_tables([held, table])
        while held.num_rows >= rows:
            yield held.slice(0, rows)
            held = held.slice(rows)
    if held is not None and held.num_rows:
        yield held


def _graded(stated: pa.ChunkedArray, grades: Mapping[str, float], where: str) -> pa.ChunkedArray:
    """Grades of a mapping for what the file states."""
    texts = cast_column(stated, pa.string(), where)
    known = pc.index_in(texts, value_set=pa.array(list(grades), pa.string()))
    unknown = pc.and_(texts.is_valid(), known.is_null())
    refuse(unknown, texts, where, f"none of the mapping's grades ({', '.join(grades)})")
    return pc.take(pa.chunked_array([pa.array(list(grades.values()), pa.float64())]), known)


def _cast(values: pa.ChunkedArray, rule: Column, where: str, mapping: LogMapping) -> pa.ChunkedArray:
    is_text = pa.types.is_string(values.type)
    if is_text and pa.types.is_floating(rule.type) and rule.maximum is None and mapping.numbers is None:
        refuse_thousands(values, where)
    cast = cast_column(values, rule.type, where, mapping)
    return whole_ids(cast, where) if rule.is_id and is_text else cast


def _broken_rules(values: pa.ChunkedArray, rule: Column, where: str, limits: Limits) -> list[Fault]:
    """Every rule of a column that some of its values break, once each."""
    broken = []
    if not rule.nullable:
        absent = values.is_null(nan_is_null=True) if pa.types.is_floating(rule.type) else values.is_null()
        broken.append((absent, "null or NaN"))
    if rule.minimum is not None:
        broken.append((pc.less(values, rule.minimum), f"below {rule.minimum:g}"))
    if rule.maximum is not None:
        broken.append((pc.greater(values, rule.maximum), f"above {rule.maximum:g}"))
    if pa.types.is_floating(rule.type):
        broken.append((pc.is_inf(values), "infinite"))
    if pa.types.is_string(rule.type):
        if not rule.blank:
            broken.append((pc.match_substring_regex(values, BLANK), "blank"))
        if rule.max_chars is not None:
            long = _too_long(values, rule.max_chars, rule.normalise)
            broken.append((long, f"longer than {rule.max_chars} characters"))
    allowed = tuple(limits.markets) if rule.is_market else rule.values
    if allowed is not None:
        known = pc.is_in(values, value_set=pa.array(allowed, type=rule.type), skip_nulls=False)
        broken.append((pc.and_(values.is_valid(), pc.invert(known)), f"not one of {', '.join(allowed)}"))
    if rule.is_past and limits.as_of is not None:
        later = pc.greater(values, pa.scalar(limits.as_of, type=rule.type))
        broken.append((later, f"after {limits.as_of.isoformat()}"))
    return [fault for at_fault, problem in broken for fault in faults_of(at_fault, values, where, problem)]


def _too_long(values: pa.ChunkedArray, max_chars: int, normalise: Callable[[str], str] | None) -> pa.ChunkedArray:
    """Which strings are longer, in normal form where there is one; few are normalised for it."""
    lengths = pc.utf8_length(values)
    if normalise is None:
        return pc.greater(lengths, max_chars)
    long = [
        text
        for text in values.filter(pc.greater(lengths, max_chars // GROWTH)).unique().to_pylist()
        if too_long(text, normalise, max_chars)
    ]
    return pc.is_in(values, value_set=pa.array(long, pa.string()))


def _check_key(table: pa.Table, schema: TableSchema, where: str) -> None:
    if not schema.key:
        return
    groups = table.select(list(schema.key)).group_by(list(schema.key)).aggregate([([], "count_all")])
    repeated = groups.filter(pc.greater(groups["count_all"], 1))
    if repeated.num_rows:
        extra = pc.sum(repeated["count_all"]).as_py() - repeated.num_rows
        example = ", ".join(f"{name}={repeated[name][0].as_py()!r}" for name in schema.key)
        key = " + ".join(schema.key)
        raise BadInput(f"{where}: column {key}: duplicate ids in {extra} of {table.num_rows} rows (first: {example})")


def read_columns(path: Path, columns: Sequence[str]) -> pa.Table:
    """Some columns of a Parquet file.

    Raises:
        BadInput: no such file, not a readable one, or a column is missing.
    """
    try:
        found = pq.read_schema(path).names
        missing = [name for name in columns if name not in found]
        if missing:
            raise BadInput(f"{path}: missing column {', '.join(missing)} (found: {', '.join(found)})")
        return pq.read_table(path, columns=list(columns))
    except FileNotFoundError as error:
        raise BadInput(f"{path}: no such file") from error
    except (pa.ArrowException, OSError) as error:
        raise BadInput(f"{path}: not a readable Parquet file ({str(error).splitlines()[0]})") from error
