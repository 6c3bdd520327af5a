"""Loaders of mutated files: each gives tables or one BadInput in a line, never another error.

Runs for ARCHIPELAGO_FUZZ_SECONDS (4 unless set; CI sets more) per test. Each example follows from its number, which a
failure names: `mutated(number)` makes it again.
"""

import gzip
import os
import time
from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.contracts.errors import BadInput
from components.contracts.schemas import JUDGMENTS, LOG_TABLES
from components.contracts.tables import Limits, read_shards
from components.marketplace.logs.check import check
from components.marketplace.logs.config import LoadConfig
from components.marketplace.logs.ingest import ingest
from components.marketplace.logs.load import check_log
from tests.marketplace.logs.test_layouts import EXAMPLES, JD_HEADER, JD_PRODUCTS, PRODUCTS, write_esci
from tests.marketplace.logs.user_log import AS_OF, MARKETS, user_tables, write_tables

SECONDS = float(os.environ.get("ARCHIPELAGO_FUZZ_SECONDS", "4"))
MAPPING = """columns: {items: {item_id: item_id}}
numbers: "1234.50"
times: ms
grades: {E: 1, "1.0": 1, "0.0": 0}
delimiter: ","
items_per_market: true
"""
# Pieces that files of the field have where they should not.
PIECES = [
    b"", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b'"', b'""', b",", b";", b"\t", b"\r", b"\n", b"\r\n", b"\\", b"\x18",
    b"\x1b[31m", b"{", b"}", b"[", b"]", b":", b"null", b"NaN", b"-inf", b"1e999", b"-0", b"9" * 40, b"1.0", b"0x1F",
    b"true", b"PAR1", b"PK\x03\x04", b"\x1f\x8b", "ไทย\u200b".encode(), "\u202e".encode(), b"\xc3", b"\xed\xa0\x80",
    b"2026-02-30", b"0000-00-00", b"2026-01-01T25:61:61Z", b"9999-12-31T23:59:59.999999999+14:00", b"1767250800000",
    b"'; DROP TABLE items; --", b"x" * 5000,
]  # fmt: skip
ODD: list[Callable[[int], Any]] = [
    lambda n: pa.nulls(n),
    lambda n: pa.array([True] * n),
    lambda n: pa.array([2**64 - 1] * n, pa.uint64()),
    lambda n: pa.array([-(2**63)] * n),
    lambda n: pa.array([float("nan"), float("inf"), -0.0, 1e300, 1.5][:n] * n)[:n],
    lambda n: pa.array(np.array([7] * n, np.float16)),
    lambda n: pa.array([Decimal("1.50")] * n),
    lambda n: pa.array([Decimal(10) ** 37] * n),
    lambda n: pa.array([Decimal(10) ** 60] * n, pa.decimal256(70, 2)),
    lambda n: pa.array([b"\xff\xfe"] * n),
    lambda n: pa.array([b"abc"] * n, pa.large_binary()),
    lambda n: pa.array(["x"] * n, pa.large_string()),
    lambda n: pa.array(["a", None][:n] * n)[:n].dictionary_encode(),
    lambda n: pa.array([7] * n).dictionary_encode(),
    lambda n: pa.array([["a"]] * n),
    lambda n: pa.array([{"a": 1}] * n),
    lambda n: pa.array([date(1, 1, 1)] * n),
    lambda n: pa.array([date(9999, 12, 31)] * n, pa.date64()),
    lambda n: pa.array([datetime(2026, 1, 1)] * n, pa.timestamp("s", tz="Asia/Jakarta")),
    lambda n: pa.array([2**62] * n).cast(pa.timestamp("ms")),
    lambda n: pa.array([-(2**62)] * n).cast(pa.timestamp("us", tz="UTC")),
    lambda n: pa.array([timedelta(days=1)] * n),
    lambda n: pa.array([1] * n).cast(pa.time64("us")),
    lambda n: pa.array(["", " ", "\u200b", "\0", "1e400"][:n] * n)[:n],
    lambda n: pa.array(["1767250800000", "-1", "99999999999999999999"][:n] * n)[:n],
    lambda n: pa.array(["12.000"] * n),
]


def spoil_bytes(content: bytes, random: Random) -> bytes:
    """The bytes with one or two changes: a cut, a piece put in or over, a part twice."""
    for _ in range(random.randint(1, 2)):
        at, length = random.randrange(len(content) + 1), random.randint(0, 40)
        piece = random.choice([*PIECES, random.randbytes(random.randint(1, 8))])
        content = random.choice(
            [
                content[:at] + piece + content[at:],
                content[:at] + piece + content[at + len(piece) :],
                content[:at] + content[at + length :],
                content[:at],
                content[:at] + content[max(0, at - 200) :],
            ]
        )
    return content


def spoil_columns(table: pa.Table, random: Random) -> pa.Table:
    """The table with a column or two of another type, left out or twice, or with fewer rows."""
    for _ in range(random.randint(1, 2)):
        if not table.num_columns:
            return table
        at = random.randrange(table.num_columns)
        name = table.column_names[at]
        match random.randrange(5):
            case 0:
                table = table.remove_column(at)
            case 1:
                table = table.append_column(random.choice([name, name.upper(), ""]), table[at])
            case 2:
                table = table.slice(0, random.randint(0, table.num_rows))
            case _:
                table = table.set_column(at, name, random.choice(ODD)(table.num_rows))
    return table


def mutated(number: int, folder: Path) -> Path:
    """A user's log with one or two spoilt files, in `folder`; the same for the same number."""
    random = Random(number)
    for path in folder.rglob("*"):
        if path.is_file():
            path.unlink()
    suffix = random.choice([".parquet", ".csv", ".jsonl", ".csv.gz"])
    tables = user_tables()
    if suffix == ".jsonl":
        for name, table in tables.items():
            folder.mkdir(exist_ok=True)
            text = table.to_json(orient="records", lines=True, date_format=random.choice(["iso", "epoch"]))
            (folder / f"{name}.jsonl").write_text(text)
    else:
        write_tables(tables, folder, suffix)
    if random.random() < 0.3:
        (folder / "mapping.yaml").write_text(MAPPING)
    files = sorted(folder.iterdir())
    for path in random.sample(files, random.choice([1, 1, 2])):
        if path.suffix == ".parquet" and random.random() < 0.7:
            pq.write_table(spoil_columns(pq.read_table(path), random), path)
        elif path.suffix == ".gz" and random.random() < 0.7:
            path.write_bytes(gzip.compress(spoil_bytes(gzip.decompress(path.read_bytes()), random)))
        else:
            path.write_bytes(spoil_bytes(path.read_bytes(), random))
    return folder


def fuzz(example: Callable[[int], object]) -> int:
    """Run examples until the time is over; how many gave BadInput."""
    refused, number, end = 0, 0, time.monotonic() + SECONDS
    while time.monotonic() < end:
        try:
            example(number)
        except BadInput as error:
            refused += 1
            assert "\n" not in str(error), f"example {number}: {error}"
            assert error.faults
        except Exception as error:
            raise AssertionError(f"example {number} ended with {type(error).__name__}: {error}") from error
        number += 1
    print(f"{number} examples, {refused} of them refused")
    assert 0 < refused < number
    return refused


def test_logs(tmp_path: Path) -> None:
    def load(number: int) -> None:
        log = check_log(mutated(number, tmp_path / "log"), None, MARKETS, AS_OF)
        assert set(log.tables) == {schema.name for schema in LOG_TABLES}
        assert all(log.tables[schema.name].schema.field(name).type == column.type
                   for schema in LOG_TABLES for name, column in schema.columns.items())  # fmt: skip

    fuzz(load)


def test_checks_always_have_a_verdict(tmp_path: Path) -> None:
    """`check` turns every BadInput into lines."""

    def verdict(number: int) -> None:
        found = check(mutated(number, tmp_path / "log"), None, MARKETS, AS_OF, LoadConfig(max_dropped=0.5))
        assert all("\n" not in line for line in found.lines)
        if found.refused:
            raise BadInput(*found.lines)

    fuzz(verdict)


def test_shards(tmp_path: Path) -> None:
    def read(number: int) -> None:
        folder = mutated(number, tmp_path / "log")
        path = next(path for path in folder.iterdir() if path.name.startswith("judgments"))
        assert sum(shard.num_rows for shard in read_shards(path, JUDGMENTS, Limits(MARKETS), 2)) > 0

    fuzz(read)


def write_jdsearch(folder: Path) -> Path:
    folder.mkdir()
    row = "12\x1832\t456_457_789\t3.0_0.0_1.0\t323\x18328_-1_12\t889_889_345\tORD_FLW_CART\t0_12_4_5\n"
    (folder / "user_behavior_data.txt").write_text(JD_HEADER + row)
    (folder / "product_meta_data.txt").write_text(JD_PRODUCTS)
    return folder


@pytest.mark.parametrize("layout", ["esci", "jdsearch"])
def test_published_layouts(layout: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    write_esci(source, EXAMPLES, PRODUCTS) if layout == "esci" else write_jdsearch(source)
    intact = {path: path.read_bytes() for path in source.iterdir()}

    def convert(number: int) -> None:
        random = Random(number)
        for path, content in intact.items():
            path.write_bytes(content)
        path = random.choice(sorted(intact))
        if path.suffix == ".parquet" and random.random() < 0.8:
            pq.write_table(spoil_columns(pq.read_table(path), random), path)
        else:
            path.write_bytes(spoil_bytes(intact[path], random))
        ingest(layout, source, tmp_path / "out")
        assert all(len(pd.read_parquet(table)) for table in (tmp_path / "out").glob("*.parquet"))

    fuzz(convert)
