"""Tables as people have them, read in batches and sampled meanwhile: never more than the sample is in memory.

A file may be Parquet, CSV with any of the usual delimiters, or JSON lines, the last two gzipped or not; a folder holds
parts of one table. Every row draws a random number, and each market keeps the rows with the smallest: the smallest of
all of them are then a sample of all markets in their true mix.
"""

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.json as pa_json
import pyarrow.parquet as pq

from components.contracts.errors import BadInput

PRIORITY, REPEATED, SINGLE = "_priority", "repeated rows", "single"
NO_MARKET = "(none)"
_PARQUET, _JSON, _CSV = (".parquet",), (".jsonl", ".ndjson"), (".csv", ".tsv", ".txt")
FORMATS = (*_PARQUET, *_JSON, *_CSV)
_DELIMITERS = ",;\t|"
_BATCH_ROWS = 65_536
_SNIFFED_BYTES = 1 << 16
_JSON_BYTES = 1 << 24
_FIRST_VALUES = 100
_TIMES = (pa.timestamp("us"), pa.timestamp("us", "UTC"))
# What text of a format may be: all of CSV is text, JSON has no times.
_TEXT_TYPES = dict.fromkeys(_CSV, (pa.int64(), pa.float64(), pa.bool_(), *_TIMES)) | dict.fromkeys(_JSON, _TIMES)


@dataclass(frozen=True)
class Sample:
    """Rows of a table, with the columns `_priority` and "repeated rows", and how many rows each market has in all."""

    table: pa.Table
    rows: Counter[str]


def read_sample(path: Path, max_rows: int, seed: int) -> Sample:
    """A sample of a file's rows, or of a folder's parts.

    Raises:
        BadInput: the file is unreadable, of no known format or empty; or parts differ in a column's type.
    """
    try:
        sample = sample_rows(batches(path), max_rows, seed)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: not readable as {', '.join(FORMATS)} ({str(error).splitlines()[0]})") from error
    if not sample.table.num_rows:
        raise BadInput(f"{path}: empty, 0 rows")
    return Sample(_typed(sample.table, _TEXT_TYPES.get(path_format(path), ())), sample.rows)


def sample_rows(batches: Iterable[pa.Table], max_rows: int, seed: int) -> Sample:
    """At most `max_rows` rows of each market; rows that repeat an earlier one, sampled or not, are marked."""
    random, kept, held = np.random.default_rng(seed), [], 0
    rows: Counter[str] = Counter()
    hashes, start, limits = [], 0, dict[str, float]()
    for batch in batches:
        markets = _markets(batch)
        rows.update(Counter(markets.tolist()))
        hashes.append(_row_hashes(batch))
        priority = random.random(batch.num_rows)
        below = priority < pd.Series(markets).map(limits).fillna(1.0).to_numpy(dtype=float)
        numbered = batch.append_column(PRIORITY, pa.array(priority))
        numbered = numbered.append_column(REPEATED, pa.array(np.arange(start, start + batch.num_rows)))
        kept.append(numbered.filter(pa.array(below)))
        start, held = start + batch.num_rows, held + int(below.sum())
        if held > 2 * max_rows * max(len(rows), 1):
            kept = [_smallest(kept, max_rows, limits)]
            held = kept[0].num_rows
    table = _smallest(kept, max_rows, limits)
    repeats = pd.Series(np.concatenate(hashes) if hashes else []).duplicated().to_numpy()
    number = table.column_names.index(REPEATED) if REPEATED in table.column_names else None
    if number is not None:
        marks = np.where(repeats[table[REPEATED].to_numpy()], REPEATED, SINGLE)
        table = table.set_column(number, REPEATED, pa.array(marks, pa.string()))
    return Sample(table, rows)


def path_format(path: Path) -> str:
    """The suffix that says what a file, or a folder's parts, are; "" if none does."""
    if path.is_dir():
        return next((path_format(part) for part in parts(path)), "")
    return next((suffix for suffix in FORMATS if path.name.removesuffix(".gz").endswith(suffix)), "")


def parts(folder: Path) -> list[Path]:
    """The files of known formats in a folder and below, in order of name; hidden ones are left out."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith((".", "_")))
    return [path for path in files if path_format(path)]


def batches(path: Path) -> Iterator[pa.Table]:
    """The rows of a file, or of a folder's parts."""
    if path.is_dir():
        for part in parts(path):
            yield from batches(part)
        return
    kind = path_format(path)
    if kind in _PARQUET:
        # Buffered ahead, all that was read would stay in memory until the file's end.
        file = pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)
        yield from (pa.Table.from_batches([batch]) for batch in file.iter_batches(_BATCH_ROWS))
    elif kind in _JSON:
        yield from json_batches(path)
    elif kind in _CSV:
        yield from _csv_batches(path)
    else:
        raise BadInput(f"{path}: not one of the formats {', '.join(FORMATS)} (each gzipped or not, Parquet aside)")


def json_batches(path: Path, growing: bool = False) -> Iterator[pa.Table]:
    """Blocks of whole lines, each with the columns it has: a stream refuses what its first block lacks.

    Nested columns are left out: their fields differ from block to block, and nothing of them is compared. Of a file
    that is `growing`, a last line without an end is left out.
    """
    with pa.input_stream(path) as stream:
        rest = b""
        while block := stream.read(_JSON_BYTES):
            lines, _, rest = (rest + block).rpartition(b"\n")
            yield from _json_lines(lines)
        if not growing:
            yield from _json_lines(rest)


def _json_lines(lines: bytes) -> Iterator[pa.Table]:
    if lines.strip():
        table = pa_json.read_json(pa.BufferReader(lines), pa_json.ReadOptions(block_size=len(lines) + 1))
        yield table.select([field.name for field in table.schema if not pa.types.is_nested(field.type)])


def _csv_batches(path: Path) -> Iterator[pa.Table]:
    """All columns as text: a stream's types would be those of its first block."""
    parse = pa_csv.ParseOptions(delimiter=_delimiter(path), newlines_in_values=True)
    with pa_csv.open_csv(path, parse_options=parse) as first:
        names = first.schema.names
    text = pa_csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True, null_values=["", "NaN", "nan", "null"]
    )
    with pa_csv.open_csv(path, parse_options=parse, convert_options=text) as stream:
        yield from (pa.Table.from_batches([batch]) for batch in stream)


def _delimiter(path: Path) -> str:
    with pa.input_stream(path) as file:
        header = file.read(_SNIFFED_BYTES).decode("utf-8", errors="replace").split("\n", 1)[0]
    try:
        return csv.Sniffer().sniff(header, _DELIMITERS).delimiter
    except csv.Error:  # one column
        return max(_DELIMITERS, key=header.count)


def _typed(table: pa.Table, types: Sequence[pa.DataType]) -> pa.Table:
    """Text columns as the first of these types that all of their values are."""
    for place, name in enumerate(table.column_names):
        if name not in ("market", REPEATED) and pa.types.is_string(table[name].type):
            table = table.set_column(place, name, _of_first_type(table[name], types))
    return table


def _of_first_type(values: pa.ChunkedArray, types: Sequence[pa.DataType]) -> pa.ChunkedArray:
    if types and values.null_count == len(values):
        return pa.chunked_array([pa.nulls(len(values))])
    first = values.drop_null().slice(0, _FIRST_VALUES)
    for kind in types:
        try:
            first.cast(kind)  # a cast that fails costs as much as one of all values
            return values.cast(kind)
        except pa.ArrowInvalid:
            continue
    return values


def _markets(batch: pa.Table) -> np.ndarray:
    if "market" not in batch.column_names:
        return np.full(batch.num_rows, "", dtype=object)
    return np.asarray(pc.fill_null(batch["market"].cast(pa.string()), NO_MARKET).to_pandas(), dtype=object)


def _row_hashes(batch: pa.Table) -> np.ndarray:
    """A hash of each row; nested columns are not looked at."""
    flat = [
        name for name, kind in zip(batch.column_names, batch.schema.types, strict=True) if not pa.types.is_nested(kind)
    ]
    if not flat:
        return np.arange(batch.num_rows, dtype=np.uint64)
    return np.asarray(pd.util.hash_pandas_object(batch.select(flat).to_pandas(), index=False), dtype=np.uint64)


def _smallest(kept: list[pa.Table], max_rows: int, limits: dict[str, float]) -> pa.Table:
    """The rows of smallest priority of each market; `limits` gets the largest of a market that is full."""
    if not kept:
        return pa.table({})
    table = pa.concat_tables(kept, promote_options="permissive")
    frame = pd.DataFrame({"market": _markets(table), "priority": table[PRIORITY].to_numpy()})
    rank = frame.groupby("market")["priority"].rank(method="first")
    full = frame[rank == max_rows]
    limits.update(zip(full["market"], full["priority"], strict=True))
    return table.filter(pa.array(rank.to_numpy() <= max_rows)).combine_chunks()
