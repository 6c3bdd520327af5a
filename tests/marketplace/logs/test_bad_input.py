"""Bad input: one clear error that names file, column and how many rows, and nothing half-written."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from components.contracts.errors import BadInput
from components.marketplace.logs.load import load_judgments, load_log
from tests.marketplace.logs.user_log import AS_OF, MARKETS, user_tables, write_tables

Tables = dict[str, pd.DataFrame]


def put(table: str, column: str, row: int, value: object) -> Callable[[Tables], None]:
    """A change of one value."""

    def change(tables: Tables) -> None:
        tables[table][column] = tables[table][column].astype(object)
        tables[table].loc[row, column] = value

    return change


def drop(table: str, column: str) -> Callable[[Tables], None]:
    """A column left out."""

    def change(tables: Tables) -> None:
        tables[table] = tables[table].drop(columns=column)

    return change


def keep(table: str, rows: int) -> Callable[[Tables], None]:
    """Only the first rows of a table."""

    def change(tables: Tables) -> None:
        tables[table] = tables[table].head(rows)

    return change


# What is spoilt, and what the message must say besides the file's name.
IN_TABLES: dict[str, tuple[Callable[[Tables], None], str, tuple[str, ...]]] = {
    "missing column": (drop("items", "price"), "items", ("missing column price", "4 rows")),
    "unknown market": (put("users", "market", 1, "BR"), "users", ("market", "not one of ID, TH", "1 of 2", "'BR'")),
    "unknown market in judgments": (put("judgments", "market", 0, "th"), "judgments", ("market", "1 of 3", "'th'")),
    "empty file": (keep("events", 0), "events", ("empty", "0 rows")),
    "NaN price": (put("items", "price", 2, float("nan")), "items", ("price", "null or NaN", "1 of 4")),
    "negative price": (put("items", "price", 2, -1.0), "items", ("price", "below 0", "1 of 4", "-1.0")),
    "infinite price": (put("items", "price", 2, float("inf")), "items", ("price", "infinite", "1 of 4")),
    "duplicate item": (put("items", "item_id", 1, "001"), "items", ("item_id", "duplicate", "1 of 4", "'001'")),
    "duplicate event": (put("events", "event_id", 3, "e1"), "events", ("event_id", "duplicate", "1 of 5")),
    "item twice in a request": (
        put("candidates", "item_id", 1, "001"),
        "candidates",
        ("request_id + item_id", "duplicate", "1 of 5"),
    ),
    "future timestamp": (
        put("requests", "timestamp", 0, pd.Timestamp("2026-03-01 00:00:01", tz="UTC")),
        "requests",
        ("timestamp", "after 2026-03-01T00:00:00+00:00", "1 of 3"),
    ),
    "future event": (
        put("events", "timestamp", 4, pd.Timestamp("2031-01-01", tz="UTC")),
        "events",
        ("timestamp", "after 2026-03-01", "1 of 5"),
    ),
    "query of 10,000 characters": (put("requests", "query", 0, "x" * 10_000), "requests", ("query", "512", "1 of 3")),
    "long query in judgments": (put("judgments", "query", 2, "ก" * 513), "judgments", ("query", "512", "1 of 3")),
    "title of 3,000 characters": (put("items", "title", 0, "x" * 3000), "items", ("title", "2048", "1 of 4")),
    "query that grows in normal form": (
        put("judgments", "query", 2, "น้ำ" * 170),  # 510 characters as typed
        "judgments",
        ("query", "longer than 512", "1 of 3"),
    ),
    "query of zero-width characters": (
        put("judgments", "query", 0, "\u200b\u2060 \xad"),
        "judgments",
        ("query", "blank", "1 of 3"),
    ),
    "id that shows nothing": (put("users", "user_id", 0, "\u200b"), "users", ("user_id", "blank", "1 of 2")),
    "blank query": (put("judgments", "query", 0, "  "), "judgments", ("query", "blank", "1 of 3")),
    "search without a query": (put("requests", "query", 1, None), "requests", ("query", "null in a search", "1 of 3")),
    "query outside search": (put("requests", "query", 2, "x"), "requests", ("query", "not null outside", "1 of 3")),
    "unknown domain": (put("requests", "domain", 2, "ads"), "requests", ("domain", "not one of search", "'ads'")),
    "unknown event": (put("events", "type", 0, "view"), "events", ("type", "not one of click", "'view'")),
    "grade above 1": (put("judgments", "grade", 0, 4.0), "judgments", ("grade", "above 1", "1 of 3", "4.0")),
    "position 0": (put("candidates", "position", 0, 0), "candidates", ("position", "below 1", "1 of 5")),
    "dangling item": (put("candidates", "item_id", 4, "999"), "", ("candidates.item_id", "items.item_id", "1 of 5")),
    "dangling user": (put("requests", "user_id", 0, "u9"), "", ("requests.user_id", "users.user_id", "1 of 3", "'u9'")),
    "dangling request": (put("events", "request_id", 0, "r9"), "", ("events.request_id", "in requests", "1 of 5")),
    "event of nobody": (put("events", "user_id", 1, "u9"), "", ("events.user_id", "users.user_id", "1 of 5")),
    "null id": (put("users", "user_id", 0, None), "users", ("user_id", "null", "1 of 2")),
}  # fmt: skip


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
@pytest.mark.parametrize("case", IN_TABLES)
def test_bad_tables(case: str, suffix: str, tmp_path: Path) -> None:
    spoil, table, says = IN_TABLES[case]
    tables = user_tables()
    spoil(tables)
    data = write_tables(tables, tmp_path / "data", suffix)
    expected = (str(data / f"{table}{suffix}" if table else data), *says)
    if case == "blank query" and suffix == ".csv":
        expected = (expected[0], "query", "1 of 3")
    refuses(lambda out: load_log(data, None, MARKETS, AS_OF, out), tmp_path, expected)


def refuses(load: Callable[[Path], None], tmp_path: Path, expected: tuple[str, ...]) -> None:
    """Loading fails with exit code 2, one line that says all that is expected, and nothing written."""
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(BadInput) as caught:
        load(tmp_path / "out" / "log")
    message = str(caught.value)
    assert caught.value.exit_code == 2
    assert "\n" not in message
    assert len(message) < 600
    for part in expected:
        assert part in message, f"{part!r} not in {message!r}"
    assert [path for path in sorted(tmp_path.rglob("*")) if path not in before and path.name != "out"] == []


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4:60] = bytes(56)
    path.write_bytes(bytes(content))


HEADER = "item_id,market,title,category,price,brand\n"
IN_FILES: dict[str, tuple[str, Callable[[Path], object], tuple[str, ...]]] = {
    "truncated Parquet": (".parquet", truncate, ("items.parquet", "not a readable Parquet file")),
    "damaged Parquet": (".parquet", flip, ("items.parquet", "not a readable Parquet file")),
    "nothing called Parquet": (".parquet", lambda path: path.write_bytes(b""), ("items.parquet", "not a readable")),
    "text called Parquet": (".parquet", lambda path: path.write_text("a,b\n"), ("items.parquet", "not a readable")),
    "no file": (".parquet", Path.unlink, ("no file items.parquet",)),
    "nothing called CSV": (".csv", lambda path: path.write_bytes(b""), ("items.csv", "not a readable CSV", "mpty")),
    "header alone": (".csv", lambda path: path.write_text(HEADER), ("0 rows",)),
    "ragged CSV": (".csv", lambda path: path.write_text("item_id,market\n1\n"), ("items.csv", "Expected 2 columns")),
    "Latin-1 CSV": (
        ".csv",
        lambda path: path.write_text(f"{HEADER}1,ID,caf\xe9,c,1,b\n", encoding="latin1"),
        ("items.csv", "UTF8"),
    ),
    "words for prices": (
        ".csv",
        lambda path: path.write_text(f"{HEADER}1,ID,t,c,cheap,b\n2,ID,t,c,1,b\n"),
        ("items.csv", "column price", "not a number", "1 of 2", "'cheap'"),
    ),
    "column twice": (
        ".csv",
        lambda path: path.write_text("item_id,market,title,category,price,price\n1,ID,t,c,1,2\n"),
        ("items.csv", "column price", "more than once"),
    ),
    "truncated gzip": (".csv.gz", truncate, ("items.csv.gz", "not a readable CSV")),
    "text called gzip": (".csv.gz", lambda path: path.write_text("a,b\n"), ("items.csv.gz", "not a readable CSV")),
    "two formats": (
        ".csv",
        lambda path: path.with_suffix(".csv.gz").write_bytes(gzip.compress(path.read_bytes())),
        ("table items is there 2 times", "items.csv, items.csv.gz"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", IN_FILES)
def test_bad_files(case: str, tmp_path: Path) -> None:
    suffix, spoil, says = IN_FILES[case]
    data = write_tables(user_tables(), tmp_path / "data", suffix)
    spoil(data / f"items{suffix}")
    refuses(lambda out: load_log(data, None, MARKETS, AS_OF, out), tmp_path, says)


def test_bad_places(tmp_path: Path) -> None:
    refuses(lambda out: load_log(tmp_path / "nowhere", None, MARKETS, AS_OF, out), tmp_path, ("no such directory",))
    data = write_tables(user_tables(), tmp_path / "data")
    missing = data / "other.csv"
    refuses(lambda out: load_log(data, missing, MARKETS, AS_OF, out), tmp_path, (str(missing), "no such file"))
    refuses(lambda out: load_judgments(missing, MARKETS, out), tmp_path, (str(missing), "no such file"))
    refuses(lambda out: load_judgments(tmp_path, MARKETS, out), tmp_path, ("no file judgments.parquet",))
    odd = tmp_path / "judgments.json"
    odd.write_text("{}")
    refuses(lambda out: load_judgments(odd, MARKETS, out), tmp_path, (str(odd), ".parquet, .csv, .csv.gz"))


@pytest.mark.parametrize("markets", [(), ("ID", "ID"), ("ID", " ")])
def test_bad_markets(markets: tuple[str, ...], tmp_path: Path) -> None:
    data = write_tables(user_tables(), tmp_path / "data")
    refuses(lambda out: load_log(data, None, markets, AS_OF, out), tmp_path, ("markets", "distinct names"))


def test_old_output_survives_bad_input(tmp_path: Path) -> None:
    data = write_tables(user_tables(), tmp_path / "data")
    load_log(data, None, MARKETS, AS_OF, tmp_path / "log")
    before = {path.name: path.read_bytes() for path in (tmp_path / "log").iterdir() if path.is_file()}
    truncate(data / "events.parquet")
    with pytest.raises(BadInput):
        load_log(data, None, MARKETS, AS_OF, tmp_path / "log")
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "log").iterdir() if path.is_file()}
