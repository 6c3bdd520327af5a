"""Reading and writing tables against their declared schemas; every violation is one BadInput.

A message names the file, the column, and how many of how many rows are at fault, with a first example.
"""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from components.contracts.casting import cast_column, refuse
from components.contracts.errors import BadInput
from components.contracts.markets import MARKETS
from components.contracts.schemas import LOG_TABLES, Column, TableSchema
from components.contracts.text import BLANK, GROWTH, too_long

SUFFIXES = (".parquet", ".csv", ".csv.gz")
# Bytes of a Parquet column that are read ahead.
_READ_BYTES = 1 << 20


@dataclass(frozen=True)
class Limits:
    """What values are checked against: the profile's markets, and the instant after which data is "future"."""

    markets: Sequence[str] = MARKETS
    as_of: datetime | None = None


def find_table(directory: Path, name: str) -> Path | None:
    """The file of table `name` in `directory`; BadInput if it is there in more than one format."""
    found = [directory / f"{name}{suffix}" for suffix in SUFFIXES if (directory / f"{name}{suffix}").is_file()]
    if len(found) > 1:
        raise BadInput(f"{directory}: table {name} is there {len(found)} times: {', '.join(p.name for p in found)}")
    return found[0] if found else None


def read_table(path: Path, schema: TableSchema, limits: Limits | None = None) -> pa.Table:
    """Read one Parquet, CSV or gzipped CSV file, cast its declared columns and check them.

    Raises:
        BadInput: the file is unreadable, empty, lacks a column or breaks a rule of the schema.
    """
    return validate(_read(path, schema), schema, str(path), limits)


def read_shards(path: Path, schema: TableSchema, limits: Limits, rows: int) -> Iterator[pa.Table]:
    """The same file, `rows` rows at a time and never whole in memory; keys are checked within a shard only, and columns
    of a CSV file that the schema does not declare are text.

    Raises:
        BadInput: as `read_table`; the message names the shard's first row where a rule is broken.
    """
    start = 0
    for batch in _sized(_read_batches(path), rows):
        where = str(path) if start == 0 else f"{path} (from row {start})"
        yield validate(batch, schema, where, limits)
        start += batch.num_rows
    if start == 0:
        raise BadInput(f"{path}: empty, 0 rows")


def read_log(directory: Path, limits: Limits | None = None, judgments: Path | None = None) -> dict[str, pa.Table]:
    """Read the six tables of the log contract from `directory` and check references between them.

    `judgments` names that table's file where it lies elsewhere.
    """
    if not directory.is_dir():
        raise BadInput(f"{directory}: no such directory")
    tables = {}
    for schema in LOG_TABLES:
        apart = judgments if schema.name == "judgments" else None
        path = apart or find_table(directory, schema.name)
        if path is None:
            raise BadInput(f"{directory}: no file {schema.name}.parquet, .csv or .csv.gz")
        tables[schema.name] = read_table(path, schema, limits)
    check_references(tables, str(directory))
    return tables


def check_references(tables: Mapping[str, pa.Table], where: str) -> None:
    """Every id that refers to another table exists there, or BadInput."""
    for schema in LOG_TABLES:
        for column, target in schema.references:
            target_column = {"users": "user_id", "items": "item_id", "requests": "request_id"}[target]
            values = tables[schema.name][column]
            known = pc.is_in(values, value_set=tables[target][target_column].combine_chunks())
            dangling = pc.and_(pc.is_valid(values), pc.invert(known))
            refuse(dangling, values, f"{where}: {schema.name}.{column}", f"not found in {target}.{target_column}")


def write_table(table: pa.Table, path: Path) -> None:
    """Write Parquet (zstd) under a temporary name, then rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as staging:
        pq.write_table(table, Path(staging) / "table.parquet", compression="zstd")
        (Path(staging) / "table.parquet").rename(path)


def validate(table: pa.Table, schema: TableSchema, where: str, limits: Limits | None = None) -> pa.Table:
    """Cast the declared columns, check every rule and return the table, extra columns kept after the declared ones."""
    limits = limits or Limits()
    missing = [name for name in schema.columns if name not in table.column_names]
    if missing:
        found = ", ".join(table.column_names)
        raise BadInput(f"{where}: missing column {', '.join(missing)} in {table.num_rows} rows (found: {found})")
    if table.num_rows == 0:
        raise BadInput(f"{where}: empty, 0 rows")
    columns = {
        name: _check(table[name], rule, f"{where}: column {name}", limits) for name, rule in schema.columns.items()
    }
    columns |= {name: table[name] for name in table.column_names if name not in schema.columns}
    checked = pa.table(columns)
    _check_key(checked, schema, where)
    return checked


def _read(path: Path, schema: TableSchema) -> pa.Table:
    with _readable(path):
        if path.suffix == ".parquet":
            # A folder called `market=ID` is just a folder: no columns from paths.
            table = pq.read_table(path, partitioning=None)
            table.validate(full=True)
        else:
            table = pa_csv.read_csv(path, **_csv_options(schema.columns))
    _refuse_repeated(table, path)
    return table


def _read_batches(path: Path) -> Iterator[pa.Table]:
    """The file as tables of whatever size it is stored in."""
    with _readable(path):
        if path.suffix == ".parquet":
            # Buffered ahead, all that was read of the file would stay in memory until its end; without a buffer of its
            # own, a column is read a whole row group at a time, which may be the file.
            file = pq.ParquetFile(path, pre_buffer=False, buffer_size=_READ_BYTES)
            batches: Iterable[pa.RecordBatch] = file.iter_batches()
        else:
            # A stream's types are those of its first block: columns that nobody declared are read as text too.
            with pa_csv.open_csv(path, **_csv_options(())) as first:
                names = first.schema.names
            batches = pa_csv.open_csv(path, **_csv_options(names))
        for batch in batches:
            table = pa.Table.from_batches([batch])
            table.validate(full=True)
            _refuse_repeated(table, path)
            yield table


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


def _csv_options(columns: Iterable[str]) -> dict[str, Any]:
    """Read these columns as text; they are cast later: an id "00123" and a query "nan" stay what they are."""
    text = dict.fromkeys(columns, pa.string())
    return {
        "convert_options": pa_csv.ConvertOptions(column_types=text, strings_can_be_null=True, null_values=[""]),
        "parse_options": pa_csv.ParseOptions(newlines_in_values=True),
    }


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn a reader's errors into BadInput."""
    try:
        yield
    except FileNotFoundError as error:
        raise BadInput(f"{path}: no such file") from error
    except (pa.ArrowException, OSError) as error:
        kind = "Parquet" if path.suffix == ".parquet" else "CSV"
        raise BadInput(f"{path}: not a readable {kind} file ({str(error).splitlines()[0]})") from error


def _refuse_repeated(table: pa.Table, path: Path) -> None:
    repeated = [name for name, count in Counter(table.column_names).items() if count > 1]
    if repeated:
        raise BadInput(f"{path}: column {', '.join(repeated)} is there more than once in {table.num_rows} rows")


def _check(values: pa.ChunkedArray, rule: Column, where: str, limits: Limits) -> pa.ChunkedArray:
    values = cast_column(values, rule.type, where)
    absent = values.is_null(nan_is_null=True) if pa.types.is_floating(rule.type) else values.is_null()
    if not rule.nullable:
        refuse(absent, values, where, "null or NaN")
    if rule.minimum is not None:
        refuse(pc.less(values, rule.minimum), values, where, f"below {rule.minimum:g}")
    if rule.maximum is not None:
        refuse(pc.greater(values, rule.maximum), values, where, f"above {rule.maximum:g}")
    if pa.types.is_floating(rule.type):
        refuse(pc.is_inf(values), values, where, "infinite")
    if pa.types.is_string(rule.type):
        if not rule.blank:
            refuse(pc.match_substring_regex(values, BLANK), values, where, "blank")
        if rule.max_chars is not None:
            long = _too_long(values, rule.max_chars, rule.normalise)
            refuse(long, values, where, f"longer than {rule.max_chars} characters")
    allowed = tuple(limits.markets) if rule.is_market else rule.values
    if allowed is not None:
        known = pc.is_in(values, value_set=pa.array(allowed, type=rule.type), skip_nulls=False)
        refuse(pc.and_(values.is_valid(), pc.invert(known)), values, where, f"not one of {', '.join(allowed)}")
    if rule.is_past and limits.as_of is not None:
        refuse(
            pc.greater(values, pa.scalar(limits.as_of, type=rule.type)),
            values,
            where,
            f"after {limits.as_of.isoformat()}",
        )
    return values


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
