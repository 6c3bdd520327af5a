"""Files of tables as owners keep them: Parquet, CSV or JSON lines, one file or a folder of parts.

What cannot be read is one BadInput, which says what the file looks like where that can be told.
"""

import gzip
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from components.contracts.errors import BadInput
from components.contracts.mapping import MAPPING, LogMapping
from components.contracts.schemas import TableSchema

SUFFIXES = (".parquet", ".csv", ".csv.gz", ".jsonl", ".jsonl.gz")
# Bytes of a Parquet column that are read ahead.
_READ_BYTES = 1 << 20
_HEAD_BYTES = 1 << 12
_KINDS = {".parquet": "Parquet", ".csv": "CSV", ".jsonl": "JSON lines"}
# How the first bytes of other kinds of files begin.
_BEGINNINGS = (
    (b"\xff\xfe", "UTF-16: save it as UTF-8"),
    (b"\xfe\xff", "UTF-16: save it as UTF-8"),
    (b"PK\x03\x04", "a ZIP archive or an Excel workbook: export a .csv"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook: export a .csv"),
    (b"PAR1", "Parquet: name it .parquet"),
    (b"\x1f\x8b", "gzipped: name it .gz"),
)


def find_table(directory: Path, name: str) -> Path | None:
    """The file of table `name` in `directory`, or the folder of its parts; BadInput if it is there more than once."""
    files = [directory / f"{name}{suffix}" for suffix in SUFFIXES]
    found = [path for path in files if path.exists()]
    if (folder := directory / name).is_dir():
        found.append(folder)
    if len(found) > 1:
        raise BadInput(f"{directory}: table {name} is there {len(found)} times: {', '.join(p.name for p in found)}")
    return found[0] if found else None


def parts_of(path: Path) -> list[Path]:
    """The files of a table, in the order of their names: itself, or those of its folder but for hidden ones and `_*`.

    Raises:
        BadInput: a folder without parts, or with parts of several formats.
    """
    if not path.is_dir():
        return [path]
    inside = sorted(part for part in path.rglob("*") if part.is_file())
    parts = [part for part in inside if not any(name[0] in "._" for name in part.relative_to(path).parts)]
    formats = {suffix_of(part) for part in parts}
    if len(formats) != 1 or None in formats:
        raise BadInput(f"{path}: expected parts of one format ({', '.join(SUFFIXES)}), found {len(parts)} files")
    return parts


def suffix_of(path: Path) -> str | None:
    """The suffix of a format that a file's name ends in."""
    return next((suffix for suffix in sorted(SUFFIXES, key=len, reverse=True) if path.name.endswith(suffix)), None)


def read_file(path: Path, schema: TableSchema, mapping: LogMapping) -> pa.Table:
    """A table's columns as its files state them, under the schema's names; of CSV and JSON, declared ones are text.

    Raises:
        BadInput: a file that cannot be read, or parts that do not fit together.
    """
    parts = [_read_part(part, schema, mapping) for part in parts_of(path)]
    try:
        return parts[0] if len(parts) == 1 else pa.concat_tables(parts, promote_options="permissive")
    except pa.ArrowException as error:
        raise BadInput(f"{path}: its parts do not fit together ({str(error).splitlines()[0]})") from error


def _read_part(path: Path, schema: TableSchema, mapping: LogMapping) -> pa.Table:
    with _readable(path, mapping.delimiter):
        if path.suffix == ".parquet":
            # A folder called `market=ID` is just a folder: no columns from paths.
            table = pq.read_table(path, partitioning=None)
            table.validate(full=True)
        elif ".jsonl" in path.suffixes:
            table = _read_json_lines(path, schema, mapping)
        else:
            options = csv_options((), mapping.delimiter)
            with pa_csv.open_csv(path, **options) as first:
                names = first.schema.names
            ours = mapping.renamed(schema.name, names, schema.columns, str(path))
            text = [name for name, own in zip(names, ours, strict=True) if own in schema.columns]
            table = pa_csv.read_csv(path, **csv_options(text, mapping.delimiter))
    ours = mapping.renamed(schema.name, table.column_names, schema.columns, str(path))
    table = table.rename_columns(ours)
    _refuse_repeated(table, path)
    return table


def _read_json_lines(path: Path, schema: TableSchema, mapping: LogMapping) -> pa.Table:
    """A JSON object per line; DuckDB gives the values of declared columns as they are written."""
    import duckdb

    with duckdb.connect() as engine:
        try:
            found = engine.read_json(str(path), format="newline_delimited", sample_size=-1)
            ours = mapping.renamed(schema.name, found.columns, schema.columns, str(path))
            types = {
                name: "VARCHAR" if own in schema.columns else str(kind)
                for name, own, kind in zip(found.columns, ours, found.types, strict=True)
            }
            return engine.read_json(str(path), format="newline_delimited", columns=types).to_arrow_table()
        except duckdb.Error as error:
            raise BadInput(f"{path}: not readable JSON lines ({str(error).splitlines()[0]})") from error


def read_batches(path: Path) -> Iterator[pa.Table]:
    """A Parquet or CSV file as tables of whatever size it is stored in."""
    with _readable(path):
        if path.suffix == ".parquet":
            # Buffered ahead, all that was read of the file would stay in memory until its end; without a buffer of its
            # own, a column is read a whole row group at a time, which may be the file.
            file = pq.ParquetFile(path, pre_buffer=False, buffer_size=_READ_BYTES)
            batches: Iterable[pa.RecordBatch] = file.iter_batches()
        else:
            # A stream's types are those of its first block: columns that nobody declared are read as text too.
            with pa_csv.open_csv(path, **csv_options(())) as first:
                names = first.schema.names
            batches = pa_csv.open_csv(path, **csv_options(names))
        for batch in batches:
            table = pa.Table.from_batches([batch])
            table.validate(full=True)
            _refuse_repeated(table, path)
            yield table


def csv_options(columns: Iterable[str], delimiter: str = ",") -> dict[str, Any]:
    """Read these columns as text; they are cast later: an id "00123" and a query "nan" stay what they are."""
    text = dict.fromkeys(columns, pa.string())
    return {
        "convert_options": pa_csv.ConvertOptions(column_types=text, strings_can_be_null=True, null_values=[""]),
        "parse_options": pa_csv.ParseOptions(newlines_in_values=True, delimiter=delimiter),
    }


@contextmanager
def _readable(path: Path, delimiter: str = ",") -> Iterator[None]:
    """Turn a reader's errors into BadInput, and say what a file of text looks like."""
    kind = _KINDS[(suffix_of(path) or ".csv").removesuffix(".gz")]
    if kind != "Parquet":
        _refuse_others(path, kind, delimiter)
    try:
        yield
    except FileNotFoundError as error:
        raise BadInput(f"{path}: no such file") from error
    except (pa.ArrowException, OSError, UnicodeError) as error:
        reason = str(error).splitlines()[0]
        encoding = ": save it as UTF-8" if "UTF8" in reason else ""
        raise BadInput(f"{path}: not a readable {kind} file ({reason}{encoding})") from error


def _refuse_others(path: Path, kind: str, delimiter: str) -> None:
    """Refuse a file of text that begins as another kind of file does."""
    try:
        with path.open("rb") as file:
            stored = file.read(_HEAD_BYTES)
        if path.suffix == ".gz" and stored.startswith(b"\x1f\x8b"):
            with gzip.open(path) as file:
                head = file.read(_HEAD_BYTES)
        else:
            head = stored
    except (OSError, EOFError, zlib.error):
        return  # the reader says what is wrong
    for start, looks_like in _BEGINNINGS:
        if head.startswith(start):
            raise BadInput(f"{path}: not {kind} but {looks_like}")
    if b"\0" in head[:64]:
        raise BadInput(f"{path}: not {kind} in UTF-8 (zero bytes at its start; is it UTF-16?): save it as UTF-8")
    line = head.removeprefix(b"\xef\xbb\xbf").splitlines()[0].decode("utf-8", "replace") if head.strip() else ""
    if kind == "CSV" and line.startswith(("{", "[")):
        raise BadInput(f"{path}: not CSV but JSON: name it .jsonl, with an object per line")
    others = [mark for mark in (",", ";", "\t", "|") if mark != delimiter and mark in line]
    if kind == "CSV" and others and delimiter not in line and re.search(r"\w", line):
        looks = max(others, key=line.count)
        raise BadInput(
            f"{path}: expected {delimiter!r} between columns, looks like {looks!r}: save it with commas, or state "
            f"delimiter: {looks!r} in {MAPPING}"
        )


def _refuse_repeated(table: pa.Table, path: Path) -> None:
    repeated = [name for name, count in Counter(table.column_names).items() if count > 1]
    if repeated:
        raise BadInput(f"{path}: column {', '.join(repeated)} is there more than once in {table.num_rows} rows")
