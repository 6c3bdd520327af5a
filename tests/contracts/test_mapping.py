"""Logs as their owners write them: own names, numbers, times, grades, and item ids that repeat over markets."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from components.contracts.errors import BadInput
from components.contracts.mapping import LogMapping, read_mapping
from components.contracts.schemas import EVENTS, ITEMS, JUDGMENTS, REQUESTS, USERS
from components.contracts.tables import Limits, read_log, read_table, validate
from tests.marketplace.logs.user_log import AS_OF, MARKETS, user_tables, write_tables

LIMITS = Limits(MARKETS, AS_OF)


def mapped(text: str, tmp_path: Path) -> LogMapping:
    (tmp_path / "mapping.yaml").write_text(text, encoding="utf-8")
    return read_mapping(tmp_path)


def price(stated: list[Any], numbers: Any = None) -> list[float]:
    rows = len(stated)
    columns = {"item_id": [str(row) for row in range(rows)], "market": ["ID"] * rows, "title": ["t"] * rows}
    table = pa.table({**columns, "category": ["c"] * rows, "price": stated, "brand": pa.nulls(rows)})
    return validate(table, ITEMS, "x", LIMITS, LogMapping(numbers=numbers))["price"].to_pylist()  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("numbers", "stated"),
    [
        ("1.234,50", ["12.000", "1.234.567,5", "99", "-0,5", "7,"]),
        ("1,234.50", ["12,000", "1,234,567.5", "99", "-0.5", "7."]),
        ("1 234,50", ["12 000", "1\u00a0234\u202f567,5", "99", "-0,5", "7,"]),
        ("1234.50", ["12000", "1234567.5", "99", "-0.5", "7."]),
    ],
)
def test_numbers_mean_the_same_in_every_declared_way(numbers: str, stated: list[str]) -> None:
    limits = [text for text in stated if not text.startswith("-")]
    assert price(limits, numbers) == [12000, 1234567.5, 99, 7]
    with pytest.raises(BadInput, match=r"below 0 in 1 of 5 rows \(first: -0.5\)"):
        price(stated, numbers)


@pytest.mark.parametrize("stated", ["12.00", "1.2345,0", "1,5,5", "12 000", "Rp 12"])
def test_numbers_of_another_way_are_refused(stated: str) -> None:
    with pytest.raises(BadInput, match=r"column price: not a number like 1\.234,50 in 1 of 1 rows"):
        price([stated], "1.234,50")


def test_points_that_may_be_for_thousands_are_asked_about() -> None:
    with pytest.raises(BadInput, match=r"may have points for thousands .*mapping.yaml\) in 2 of 2 rows \(first: '12.0"):
        price(["12.000", "1.250.000"])
    assert price(["12.000", "9.5"]) == [12, 9.5], "no thousands have one decimal"
    assert price(["12.000"], "1234.50") == [12]


@pytest.mark.parametrize(
    ("times", "stated"),
    [
        ("s", [1_767_250_800]),
        ("ms", [1_767_250_800_000]),
        ("s", [1_767_250_800.0]),
        ("s", ["1767250800"]),
        ("ms", [" 1767250800000 "]),
        ("ms", ["1.7672508e12"]),
        ("s", ["2026-01-01T14:00:00+0700"]),
        (None, ["2026-01-01T14:00:00+0700"]),
    ],
)
def test_times_have_the_named_unit(times: Any, stated: list[Any]) -> None:
    row = {"request_id": ["r"], "user_id": ["u"], "market": ["ID"], "domain": ["rec"], "query": pa.nulls(1)}
    table = validate(pa.table({**row, "timestamp": stated}), REQUESTS, "x", LIMITS, LogMapping(times=times))
    assert table["timestamp"].to_pylist() == [datetime(2026, 1, 1, 7, tzinfo=UTC)]


@pytest.mark.parametrize(
    ("times", "stated", "says"),
    [
        (None, "1767250800", "state times: s or times: ms in mapping.yaml"),
        ("s", 1_767_250_800_000, r"no time in s \(is it ms\?\) in 1 of 1 rows"),
        ("ms", 1_767_250_800, r"no time in ms \(is it s\?\) in 1 of 1 rows"),
        ("s", 2**62, "no time in s"),
        ("s", float("inf"), "no time in s"),
        ("s", "9" * 18, "no time in s"),
    ],
)
def test_times_of_another_unit_are_refused(times: Any, stated: Any, says: str) -> None:
    row = {"request_id": ["r"], "user_id": ["u"], "market": ["ID"], "domain": ["rec"], "query": pa.nulls(1)}
    with pytest.raises(BadInput, match=says):
        validate(pa.table({**row, "timestamp": [stated]}), REQUESTS, "x", LIMITS, LogMapping(times=times))


def test_grades_by_a_mapping(tmp_path: Path) -> None:
    mapping = mapped("grades: {E: 1, S: 0.1, C: 0.01, I: 0, 100: 1}", tmp_path)
    judgments = user_tables()["judgments"]
    for stated, grades in ((["E", "I", "S"], [1, 0, 0.1]), (["100", "C", "100"], [1, 0.01, 1])):
        table = pa.Table.from_pandas(judgments.assign(grade=stated))
        assert validate(table, JUDGMENTS, "x", LIMITS, mapping)["grade"].to_pylist() == grades
    numbers = pa.Table.from_pandas(judgments.assign(grade=[100, 100, 100]))
    assert validate(numbers, JUDGMENTS, "x", LIMITS, mapping)["grade"].to_pylist() == [1, 1, 1]
    with pytest.raises(BadInput, match=r"none of the mapping's grades \(E, S, C, I, 100\) in 1 of 3 rows \(first: 'X'"):
        validate(pa.Table.from_pandas(judgments.assign(grade=["E", "X", "I"])), JUDGMENTS, "x", LIMITS, mapping)


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_own_names_and_letter_case(suffix: str, tmp_path: Path) -> None:
    tables = user_tables()
    tables["items"] = tables["items"].rename(columns={"item_id": "SKU", "title": "Nama Produk", "price": " PRICE"})
    tables["events"].columns = tables["events"].columns.str.upper()
    data = write_tables(tables, tmp_path, suffix)
    mapped('columns: {items: {item_id: SKU, title: "Nama Produk"}}', tmp_path)
    log = read_log(data, LIMITS)
    assert log["items"]["item_id"].to_pylist() == ["001", "002", "003", "004"], "leading zeros are kept"
    assert log["items"]["price"].to_pylist()[0] == 45000
    assert log["events"].column_names == list(EVENTS.columns)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("columns: {items: {item_id: SKU}}", r"items.csv: no column SKU, which mapping.yaml names \(found: item_id"),
        ("columns: {goods: {item_id: SKU}}", "mapping.yaml: columns.goods"),
        ("number: x", "mapping.yaml: number: Extra inputs"),
        ("times: minutes", "mapping.yaml: times: Input should be 's' or 'ms'"),
        ("grades: {yes: 1}", "put the grade in quotes"),
        ("grades: {E: 4}", "mapping.yaml: grades.E"),
        ("- a", "mapping.yaml"),
        ("a: [", "mapping.yaml: not readable YAML"),
    ],
)
def test_bad_mappings(text: str, says: str, tmp_path: Path) -> None:
    write_tables(user_tables(), tmp_path, ".csv")
    (tmp_path / "mapping.yaml").write_text(text)
    with pytest.raises(BadInput, match=says):
        read_log(tmp_path, LIMITS)


def test_a_column_may_not_be_there_twice_after_mapping(tmp_path: Path) -> None:
    write_tables(user_tables(), tmp_path, ".csv")
    mapped("columns: {items: {item_id: colour}}", tmp_path)
    with pytest.raises(BadInput, match="column item_id is there more than once"):
        read_log(tmp_path, LIMITS)


def test_semicolons_where_a_mapping_says_so(tmp_path: Path) -> None:
    user_tables()["judgments"].to_csv(tmp_path / "judgments.csv", sep=";", index=False)
    with pytest.raises(BadInput, match="looks like ';': save it with commas, or state delimiter"):
        read_table(tmp_path / "judgments.csv", JUDGMENTS, LIMITS)
    assert read_table(tmp_path / "judgments.csv", JUDGMENTS, LIMITS, mapped('delimiter: ";"', tmp_path)).num_rows == 3


def test_item_ids_of_each_market_become_unique(tmp_path: Path) -> None:
    tables = user_tables()
    own = {"001": "1", "002": "2", "003": "1", "004": "2"}
    for name in ("items", "candidates", "events", "judgments"):
        tables[name]["item_id"] = tables[name]["item_id"].map(own)
    data = write_tables(tables, tmp_path)
    with pytest.raises(BadInput, match=r"items.parquet: column item_id: duplicate ids in 2 of 4 rows"):
        read_log(data, LIMITS)
    mapped("items_per_market: true", tmp_path)
    log = read_log(data, LIMITS)
    assert log["items"]["item_id"].to_pylist() == ["ID:1", "ID:2", "TH:1", "TH:2"]
    assert log["candidates"]["item_id"].to_pylist() == ["ID:1", "ID:2", "TH:1", "TH:2", "TH:2"]
    assert log["events"]["item_id"].to_pylist() == ["ID:1", "ID:1", "TH:1", "TH:2", "TH:2"]
    assert log["judgments"]["item_id"].to_pylist() == ["ID:1", "ID:2", "TH:1"]


@pytest.mark.parametrize(
    ("stated", "ids"),
    [
        (pa.array([1234567890123.0, 7.0]), ["1234567890123", "7"]),
        (pa.array([7.0, 8.0], pa.float32()), ["7", "8"]),
        (pa.array([2**53 + 1, 7]), ["9007199254740993", "7"]),
        (pa.array(["007", "7"]), ["007", "7"]),
        (pa.array(["7.0", "8.0"]), ["7", "8"]),
        (pa.array(["7.0", "x"]), ["7.0", "x"]),
        (pa.array(["1.5", "2.0"]), ["1.5", "2.0"]),
        (pa.array([7, 8]).cast(pa.decimal128(21, 2)), ["7", "8"]),
    ],
)
def test_whole_floats_are_the_integers_that_they_were(stated: pa.Array, ids: list[str]) -> None:
    users = pa.table({"user_id": stated, "market": ["ID", "TH"]})
    assert validate(users, USERS, "x", LIMITS)["user_id"].to_pylist() == ids


@pytest.mark.parametrize(
    ("stated", "says"),
    [
        (pa.array([2.0**53 + 2]), r"above 2\^53, where a float loses digits .* in 1 of 1 rows"),
        (pa.array([2.0**24 + 2], pa.float32()), r"above 2\^24"),
        (pa.array([1.5]), "not a whole number, nor text in 1 of 1 rows"),
        (pa.array([float("nan")]), "null or NaN"),
        (pa.array(["1.234567890123e+12"]), "a float that lost its digits"),
        (pa.array(["90071992547409930.0"]), r"above 2\^53"),
    ],
)
def test_ids_that_lost_digits_are_refused(stated: pa.Array, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        validate(pa.table({"user_id": stated, "market": ["ID"]}), USERS, "x", LIMITS)


def test_gaps_in_a_float_column_are_null(tmp_path: Path) -> None:
    tables = user_tables()
    for name in ("requests", "candidates", "events"):
        numbers = tables[name]["request_id"].str.removeprefix("r").astype(float)
        tables[name]["request_id"] = numbers if name == "events" else numbers.astype(int)
    assert tables["events"]["request_id"].isna().any()
    for suffix in (".parquet", ".csv"):
        log = read_log(write_tables(tables, tmp_path / suffix, suffix), LIMITS)
        assert log["events"]["request_id"].to_pylist() == ["1", "1", "2", "3", None]


def test_all_that_is_wrong_is_found_at_once(tmp_path: Path) -> None:
    tables = user_tables()
    tables["items"]["price"] = [-1.0, float("nan"), 1.0, float("inf")]
    tables["items"].loc[0, "market"] = "BR"
    tables["users"] = tables["users"].drop(columns="market")
    tables["requests"]["timestamp"] = pd.Timestamp("2031-01-01", tz="UTC")
    data = write_tables(tables, tmp_path)
    (data / "events.parquet").unlink()
    with pytest.raises(BadInput, match=r"5 more|6 more: `archipelago check` names all") as caught:
        read_log(data, LIMITS)
    said = "\n".join(str(fault) for fault in caught.value.faults)
    for part in (
        "price: null or NaN in 1 of 4", "price: below 0 in 1 of 4", "price: infinite in 1 of 4",
        "market: not one of ID, TH", "missing column market", "timestamp: after", "no file events.parquet",
    ):  # fmt: skip
        assert part in said
