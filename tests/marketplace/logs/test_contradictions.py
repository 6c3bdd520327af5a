"""Rows that contradict other rows become no label: each kind is counted and left out, and too many refuse the log."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from components.contracts.errors import BadInput
from components.contracts.tables import Limits, read_log
from components.contracts.tools.manifest import read_manifest
from components.marketplace.logs.config import LoadConfig
from components.marketplace.logs.contradictions import drop_contradictions
from components.marketplace.logs.load import check_log, load_log
from tests.marketplace.logs.user_log import AS_OF, MARKETS, user_tables, write_tables

Tables = dict[str, pd.DataFrame]
LENIENT = LoadConfig(max_dropped=0.9)


def put(table: str, column: str, row: int, value: object) -> Callable[[Tables], None]:
    def change(tables: Tables) -> None:
        tables[table].loc[row, column] = value

    return change


def before_its_request(minutes: int) -> Callable[[Tables], None]:
    def change(tables: Tables) -> None:
        request = tables["requests"]["timestamp"][1]
        tables["events"].loc[2, "timestamp"] = request - pd.Timedelta(minutes=minutes)

    return change


def without_candidates(tables: Tables) -> None:
    tables["candidates"] = tables["candidates"].query("request_id != 'r2'").reset_index(drop=True)


# What is spoilt, and (table, problem, first) of all that is dropped for it.
CASES: dict[str, tuple[Callable[[Tables], None], list[tuple[str, str, str]]]] = {
    "a click a minute before its request": (
        before_its_request(1),
        [("events", "before their request", "event_id='e3'")],
    ),
    "an event an hour before its request": (
        before_its_request(60),
        [("events", "before their request", "event_id='e3'")],
    ),
    "an event by another user": (
        put("events", "user_id", 2, "u1"),
        [("events", "by another user than their request", "event_id='e3'")],
    ),
    "an item outside the candidates": (
        put("events", "item_id", 3, "003"),
        [("events", "item that is no candidate of their request", "event_id='e4'")],
    ),
    "a click on an item that was not shown": (
        put("events", "item_id", 0, "002"),
        [("events", "item that their request did not show", "event_id='e1'")],
    ),
    "a search event without request": (
        put("events", "request_id", 1, None),
        [("events", "in search without a request", "event_id='e2'")],
    ),
    "an event in another domain than its request": (
        put("events", "domain", 2, "rec"),
        [("events", "in another domain than their request", "event_id='e3'")],
    ),
    "one position twice": (
        put("candidates", "position", 3, 1),
        [
            ("requests", "one position twice among their candidates", "request_id='r2'"),
            ("candidates", "their request was dropped", "request_id='r2' item_id='003'"),
            ("events", "their request was dropped", "event_id='e3'"),
        ],
    ),
    "a request without candidates": (
        without_candidates,
        [
            ("requests", "no candidates", "request_id='r2'"),
            ("events", "their request was dropped", "event_id='e3'"),
        ],
    ),
    "a request in another market than its user": (
        put("requests", "user_id", 1, "u1"),
        [
            ("requests", "in another market than their user", "request_id='r2'"),
            ("candidates", "their request was dropped", "request_id='r2' item_id='003'"),
            ("events", "their request was dropped", "event_id='e3'"),
        ],
    ),
    "a candidate of another market": (
        put("candidates", "item_id", 2, "001"),
        [
            ("candidates", "item of another market than their request", "request_id='r2' item_id='001'"),
            ("events", "item that is no candidate of their request", "event_id='e3'"),
        ],
    ),
    "an event on an item of another market": (
        put("events", "item_id", 4, "001"),
        [("events", "item of another market than their user", "event_id='e5'")],
    ),
    "a judged item of another market": (
        put("judgments", "item_id", 2, "001"),
        [("judgments", "item that the catalogue has in another market", "query_id='q2' item_id='001'")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_each_contradiction_is_counted_and_left_out(case: str, tmp_path: Path) -> None:
    spoil, expected = CASES[case]
    tables = user_tables()
    spoil(tables)
    data = write_tables(tables, tmp_path / "data")
    load_log(data, None, MARKETS, AS_OF, tmp_path / "log", LENIENT)
    dropped = read_manifest(tmp_path / "log")["metrics"]["dropped"]
    assert [(part["table"], part["problem"], part["examples"][0]) for part in dropped] == expected
    for name, table in tables.items():
        gone = sum(part["rows"] for part in dropped if part["table"] == name)
        assert pq.read_table(tmp_path / "log" / f"{name}.parquet").num_rows == len(table) - gone
        assert all(part["of"] == len(table) for part in dropped if part["table"] == name)
    page = (tmp_path / "log" / "reports" / "marketplace.html").read_text(encoding="utf-8")
    assert all(problem in page for _, problem, _ in expected)
    again = drop_contradictions(read_log(tmp_path / "log", Limits(MARKETS, AS_OF)))[1]
    assert again == [], "nothing of what is left contradicts another row"


@pytest.mark.parametrize("case", CASES)
def test_more_than_the_profile_allows_refuses_the_log(case: str, tmp_path: Path) -> None:
    spoil, expected = CASES[case]
    tables = user_tables()
    spoil(tables)
    data = write_tables(tables, tmp_path / "data")
    with pytest.raises(BadInput) as caught:
        load_log(data, None, MARKETS, AS_OF, tmp_path / "log")
    table, problem, first = expected[0]
    for part in (f"{data}: {table}: 1 of ", "load.max_dropped (5.0%)", f"1 {problem} (first: {first})"):
        assert part in str(caught.value)
    assert not (tmp_path / "log").exists()


def test_a_row_counts_once_and_order_is_kept(tmp_path: Path) -> None:
    tables = user_tables()
    before_its_request(60)(tables)
    put("events", "user_id", 2, "u1")(tables)
    log = check_log(write_tables(tables, tmp_path), None, MARKETS, AS_OF)
    assert [str(part) for part in log.dropped] == [
        "1 of 5 events dropped: by another user than their request (first: event_id='e3')"
    ]
    assert log.tables["events"]["event_id"].to_pylist() == ["e1", "e2", "e4", "e5"]
    assert log.tables["items"].column_names[-1] == "colour", "extra columns stay"


def test_large_counts_read_well(tmp_path: Path) -> None:
    tables = user_tables()
    many = tables["events"].loc[[2] * 66_388].reset_index(drop=True)
    many["event_id"] = [f"x{i}" for i in many.index]
    before = tables["requests"]["timestamp"][1] - pd.Timedelta(hours=1)
    many.loc[: 1203, "timestamp"] = before  # fmt: skip
    tables["events"] = pd.concat([tables["events"], many], ignore_index=True)
    (dropped,) = check_log(write_tables(tables, tmp_path), None, MARKETS, AS_OF).dropped
    assert str(dropped) == "1,204 of 66,393 events dropped: before their request (first: event_id='x0')"
    assert len(dropped.examples) == 20


def test_a_log_without_contradictions_says_so(tmp_path: Path) -> None:
    load_log(write_tables(user_tables(), tmp_path / "data"), None, MARKETS, AS_OF, tmp_path / "log")
    assert read_manifest(tmp_path / "log")["metrics"]["dropped"] == []
    page = (tmp_path / "log" / "reports" / "marketplace.html").read_text(encoding="utf-8")
    assert "no row contradicts another" in page
