"""Tables against their schemas: what is read, what is refused, and what the refusal says."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.contracts import schemas
from components.contracts.errors import BadInput
from components.contracts.schemas import CANDIDATES, ITEMS, JUDGMENTS, LOG_TABLES, REQUESTS, TIMESTAMP, TableSchema
from components.contracts.tables import (
    Limits,
    check_references,
    find_table,
    read_log,
    read_table,
    validate,
    write_table,
)
from components.contracts.text import BLANK

AS_OF = datetime(2026, 3, 1, tzinfo=UTC)
LIMITS = Limits(as_of=AS_OF)


def request(**changes: Any) -> pa.Table:
    """A one-row requests table."""
    row = {"request_id": "r", "user_id": "u", "market": "ID", "domain": "search", "query": "kaos", "timestamp": AS_OF}
    columns = {**{name: [value] for name, value in row.items()}, **changes}
    return pa.table(columns)


def item(**changes: Any) -> pa.Table:
    """A one-row items table."""
    row = {"item_id": "i", "market": "ID", "title": "t", "category": "c", "price": 1.0, "brand": None}
    return pa.table({**{name: [value] for name, value in row.items()}, **changes})


@pytest.mark.parametrize(
    "stated",
    [
        pa.array([datetime(2026, 1, 1, 7, 0)], pa.timestamp("us")),
        pa.array([datetime(2026, 1, 1, 7, 0)], pa.timestamp("ns")),
        pa.array([datetime(2026, 1, 1, 7, 0)], pa.timestamp("s")),
        pa.array([datetime(2026, 1, 1, 7, 0, tzinfo=UTC)], pa.timestamp("ms", tz="Asia/Jakarta")),
        ["2026-01-01 07:00:00"],
        ["2026-01-01T07:00Z"],
        ["2026-01-01T07:00:00.000000000"],
        ["2026-01-01 14:00:00+07:00"],
        [" 2026-01-01T14:00:00.0+0700 "],
        ["2026-01-01 14:00:00+07"],
    ],
)
def test_times_mean_the_same_however_stated(stated: Any) -> None:
    table = validate(request(timestamp=stated), REQUESTS, "x", LIMITS)
    assert table.schema.field("timestamp").type == TIMESTAMP
    assert table["timestamp"][0].as_py() == datetime(2026, 1, 1, 7, 0, tzinfo=UTC)


def test_dates_are_their_midnight() -> None:
    for stated in (["2026-01-02"], pa.array([date(2026, 1, 2)])):
        table = validate(request(timestamp=stated), REQUESTS, "x", LIMITS)
        assert table["timestamp"][0].as_py() == datetime(2026, 1, 2, tzinfo=UTC)


def test_one_column_may_mix_zones() -> None:
    rows = pa.concat_tables([request(request_id=["a"]), request(request_id=["b"])])
    rows = rows.set_column(5, "timestamp", pa.array(["2026-01-01 07:00", "2026-01-01T14:00:00+07:00"]))
    times = validate(rows, REQUESTS, "x", LIMITS)["timestamp"].to_pylist()
    assert times[0] == times[1]


@pytest.mark.parametrize(
    ("stated", "says"),
    [
        (["yesterday"], "not an ISO 8601 time in 1 of 1 rows (first: 'yesterday')"),
        (["2026-13-01"], "cannot be read as timestamp"),
        ([1_767_225_600], "numbers in 1 rows, expected ISO 8601 text (since 1970: state times: s or times: ms in"),
        ([None], "null"),
    ],
)
def test_times_that_cannot_be_read(stated: Any, says: str) -> None:
    with pytest.raises(BadInput, match="column timestamp") as caught:
        validate(request(timestamp=stated), REQUESTS, "x", LIMITS)
    assert says in str(caught.value)


def test_only_the_declared_end_is_the_future() -> None:
    late = request(timestamp=[datetime(2026, 3, 1, 0, 0, 1, tzinfo=UTC)])
    assert validate(late, REQUESTS, "x").num_rows == 1
    with pytest.raises(BadInput, match="after 2026-03-01"):
        validate(late, REQUESTS, "x", LIMITS)


def test_gaps_do_not_turn_positions_into_nonsense() -> None:
    ids = {"request_id": ["r", "r"], "item_id": ["a", "b"]}
    for positions in (
        pa.array([2.0, float("nan")]),
        pa.array(["2", None]),
        pa.array(["2.0", "nan"]),
        pa.array([2, None]),
    ):
        table = validate(pa.table({**ids, "position": positions}), CANDIDATES, "x")
        assert table["position"].to_pylist() == [2, None]
    with pytest.raises(BadInput, match=r"column position: not a whole number in 1 of 2 rows \(first: 1.5\)"):
        validate(pa.table({**ids, "position": [1.5, 2.0]}), CANDIDATES, "x")


def test_types_that_mean_the_same_are_cast() -> None:
    table = item(
        item_id=[17],
        market=pa.array(["ID"]).dictionary_encode(),
        title=pa.array(["t"], pa.large_string()),
        price=pa.array([5], pa.int32()),
        brand=pa.nulls(1),
    )
    assert validate(table, ITEMS, "x").to_pylist() == [
        {"item_id": "17", "market": "ID", "title": "t", "category": "c", "price": 5.0, "brand": None}
    ]


def test_extra_columns_stay_behind_the_declared_ones() -> None:
    table = pa.table({"seller": ["s"], **{name: item()[name] for name in reversed(item().column_names)}})
    assert validate(table, ITEMS, "x").column_names == [*ITEMS.columns, "seller"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"price": [float("nan")]}, "x: column price: null or NaN in 1 of 1 rows (first: nan)"),
        ({"price": ["cheap"]}, "x: column price: not a number in 1 of 1 rows (first: 'cheap')"),
        ({"price": [-0.5]}, "x: column price: below 0 in 1 of 1 rows (first: -0.5)"),
        ({"title": ["\n\t "]}, "x: column title: blank in 1 of 1 rows"),
        ({"title": ["x" * 5000]}, "x: column title: longer than 2048 characters in 1 of 1 rows (first: 'xxx"),
        ({"market": ["US"]}, "x: column market: not one of ID, MY, PH, SG, TH, VN in 1 of 1 rows (first: 'US')"),
        ({"category": [["a"]]}, "x: column category: 1 rows of list<"),
    ],
)
def test_refusals_say_where_and_how_many(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(BadInput) as caught:
        validate(item(**changes), ITEMS, "x")
    assert says in str(caught.value)
    assert len(str(caught.value)) < 300


def test_markets_are_the_profiles() -> None:
    assert validate(item(market=["US"]), ITEMS, "x", Limits(["US"])).num_rows == 1
    with pytest.raises(BadInput, match="not one of US"):
        validate(item(), ITEMS, "x", Limits(["US"]))


def test_keys_are_unique_together() -> None:
    twice = pa.table({"request_id": ["r", "r", "s"], "item_id": ["a", "a", "a"], "position": pa.nulls(3)})
    with pytest.raises(BadInput, match=r"duplicate ids in 1 of 3 rows \(first: request_id='r', item_id='a'\)"):
        validate(twice, CANDIDATES, "x")


def test_all_missing_columns_are_named() -> None:
    with pytest.raises(BadInput, match=r"missing column price, brand in 1 rows \(found: item_id"):
        validate(item().drop(["price", "brand"]), ITEMS, "x")


def test_dangling_references_name_both_ends(small_tables: dict[str, pa.Table]) -> None:
    check_references(small_tables, "here")
    broken = {**small_tables, "items": small_tables["items"].slice(0, 0)}
    with pytest.raises(BadInput, match=r"here: candidates\.item_id: not found in items\.item_id in 1 of 1 rows"):
        check_references(broken, "here")


@pytest.fixture
def small_tables() -> dict[str, pa.Table]:
    return {
        "items": item(),
        "users": pa.table({"user_id": ["u"], "market": ["ID"]}),
        "requests": request(),
        "candidates": pa.table({"request_id": ["r"], "item_id": ["i"], "position": [1]}),
        "events": pa.table(
            {"event_id": ["e"], "user_id": ["u"], "item_id": ["i"], "domain": ["shop"],
             "request_id": pa.nulls(1, pa.string()), "type": ["click"], "timestamp": [AS_OF]}
        ),
        "judgments": pa.table(
            {"query_id": ["q"], "market": ["ID"], "query": ["k"], "item_id": ["i"], "title": ["t"], "grade": [1]}
        ),
    }  # fmt: skip


def test_a_log_is_read_from_its_folder(small_tables: dict[str, pa.Table], tmp_path: Path) -> None:
    for name, table in small_tables.items():
        write_table(table, tmp_path / "log" / f"{name}.parquet")
    assert set(read_log(tmp_path / "log", LIMITS)) == {schema.name for schema in LOG_TABLES}
    apart = (tmp_path / "log" / "judgments.parquet").rename(tmp_path / "mine.parquet")
    assert read_log(tmp_path / "log", LIMITS, apart)["judgments"].num_rows == 1
    with pytest.raises(BadInput, match="no file judgments"):
        read_log(tmp_path / "log", LIMITS)


def test_a_table_lies_in_one_format(tmp_path: Path) -> None:
    assert find_table(tmp_path, "items") is None
    (tmp_path / "items.csv").touch()
    assert find_table(tmp_path, "items") == tmp_path / "items.csv"
    (tmp_path / "items.csv.gz").touch()
    with pytest.raises(BadInput, match="there 2 times"):
        find_table(tmp_path, "items")


def test_folder_names_are_not_columns(tmp_path: Path) -> None:
    path = tmp_path / "market=TH" / "items.parquet"
    write_table(item(), path)
    assert read_table(path, ITEMS)["market"].to_pylist() == ["ID"]


def test_csv_keeps_text_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "items.csv"
    path.write_text(
        'item_id,market,title,category,price,brand\n007,ID,nan,"NA",1e3,\n"8",ID," a\n""b"" ",c, 2.50 ,""\n'
    )
    assert read_table(path, ITEMS).to_pylist() == [
        {"item_id": "007", "market": "ID", "title": "nan", "category": "NA", "price": 1000.0, "brand": None},
        {"item_id": "8", "market": "ID", "title": ' a\n"b" ', "category": "c", "price": 2.5, "brand": None},
    ]


words = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=30)
words = words.filter(lambda text: not pc.match_substring_regex(pa.scalar(text), BLANK).as_py())
rows = st.tuples(words, words, st.floats(0, 1), st.sampled_from(["ID", "TH"]))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(st.lists(rows, min_size=1, max_size=6))
def test_csv_and_parquet_carry_the_same_table(tmp_path: Path, content: list[tuple[str, str, float, str]]) -> None:
    frame = pd.DataFrame(content, columns=["query", "title", "grade", "market"])
    frame["query_id"] = [f"q{i}" for i in range(len(frame))]
    frame["item_id"] = "i"
    for suffix in (".csv", ".csv.gz"):
        frame.to_csv(tmp_path / f"t{suffix}", index=False)
        table = read_table(tmp_path / f"t{suffix}", JUDGMENTS)
        assert table.to_pylist() == validate(pa.Table.from_pandas(frame), JUDGMENTS, "x").to_pylist()


def test_damaged_text_is_refused(tmp_path: Path) -> None:
    offsets = pa.array([0, 2], pa.int32()).buffers()[1]
    broken = pa.Array.from_buffers(pa.string(), 1, [None, offsets, pa.py_buffer(b"\xff\xfe")])
    pq.write_table(item(title=broken), tmp_path / "items.parquet")
    with pytest.raises(BadInput, match="UTF8"):
        read_table(tmp_path / "items.parquet", ITEMS)


def test_writing_replaces_at_once_and_leaves_no_litter(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "items.parquet"
    write_table(item(), path)
    write_table(item(title=["new"]), path)
    assert pq.read_table(path)["title"].to_pylist() == ["new"]
    assert [p.name for p in path.parent.iterdir()] == ["items.parquet"]
    with pytest.raises(AttributeError):
        write_table("no table", path)  # type: ignore[arg-type]
    assert [p.name for p in path.parent.iterdir()] == ["items.parquet"]
    assert pq.read_table(path).num_rows == 1


def every_schema() -> list[TableSchema]:
    return [value for value in vars(schemas).values() if isinstance(value, TableSchema)]


@pytest.mark.parametrize("schema", every_schema(), ids=lambda schema: schema.name)
def test_schemas_are_consistent(schema: TableSchema) -> None:
    assert set(schema.key) <= set(schema.columns)
    targets = {"users": "user_id", "items": "item_id", "requests": "request_id"}
    for column, target in schema.references:
        assert column in schema.columns
        assert target in targets
    for name, column in schema.columns.items():
        assert column.is_past == (name == "timestamp")
        assert column.is_market == (name == "market")
        assert column.maximum is None or column.minimum is None or column.maximum > column.minimum
    for name in schema.key:
        assert not schema.columns[name].nullable
