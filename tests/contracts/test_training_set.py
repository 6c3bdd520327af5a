"""The training set's file: what is written once comes back for every row, and what is left out follows again."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.contracts.errors import BadInput
from components.contracts.features import FEATURES, stored_features
from components.contracts.text import stable_bucket
from components.contracts.training_set import (
    CANDIDATE_COLUMNS,
    REQUEST_COLUMNS,
    read_training_rows,
    stated_features,
    write_training_set,
)

SIZES = np.array([2, 1, 3])
BUCKETS = {feature.name: feature.buckets for feature in FEATURES}
OF_REQUEST, OF_CANDIDATE = (
    [column for column in stored_features() if column.name in names] for names in (REQUEST_COLUMNS, CANDIDATE_COLUMNS)
)


def part(first: int = 0) -> tuple[pa.Table, pa.Table, np.ndarray]:
    """Three requests of two users with two, one and three candidates; the second's user and features are unknown."""
    names = [f"r{first + i}" for i in range(3)]
    requests = {name: ["x"] * 3 for name in ("domain", "query", "query_source", "split")}
    requests |= {"request_id": names, "user_id": ["u1", "u2", "u1"], "market": ["TH", "ID", "TH"]}
    requests |= {"timestamp": pa.array([datetime(2026, 1, 1, tzinfo=UTC)] * 3, pa.timestamp("us", tz="UTC"))}
    requests |= {"user_known": [True, False, True]}
    values = {"numeric": [0.5, None, 2.0], "categorical": [3, None, 4], "sequence": [[7, 8], None, []]}
    values |= {"time": [1_700_000_000, None, 0]}
    requests |= {f.name: values[f.kind] for f in OF_REQUEST}
    n = int(SIZES.sum())
    candidates = {name: np.arange(n, dtype=np.int8) for name in CANDIDATE_COLUMNS}
    candidates |= {"item_id": [f"i{i}" for i in range(n)], "item_known": [True] * (n - 1) + [False]}
    numbers = pa.array([None, *range(1, n)], pa.float32())
    candidates |= {f.name: numbers for f in OF_CANDIDATE if f.kind == "numeric"}
    return pa.table({c: requests[c] for c in REQUEST_COLUMNS}), pa.table(candidates), SIZES


def test_rows_come_back_with_their_request_s_columns(tmp_path: Path) -> None:
    assert write_training_set([part(), part(3)], tmp_path / "t.parquet") == 6
    rows = read_training_rows(tmp_path / "t.parquet")
    assert rows.request.tolist() == [0, 0, 1, 2, 2, 2, 3, 3, 4, 5, 5, 5]
    assert rows.column("request_id").to_pylist() == [f"r{i}" for i in rows.request]
    assert rows.column("item_id").to_pylist() == [f"i{i}" for i in range(6)] * 2
    assert rows.table(["user_id", "item_id"]).num_rows == 12
    assert pq.ParquetFile(tmp_path / "t.parquet").metadata.num_rows == 6


def test_what_is_unknown_is_written_as_models_read_it(tmp_path: Path) -> None:
    write_training_set([part()], tmp_path / "t.parquet")
    rows = read_training_rows(tmp_path / "t.parquet")
    unknown = {"categorical": 0, "sequence": [], "time": 0}
    for column in OF_REQUEST:
        wanted = column.unknown if column.kind == "numeric" else unknown[column.kind]
        np.testing.assert_equal(rows.requests[column.name][1].as_py(), wanted)
    for column in OF_CANDIDATE:
        if column.kind == "numeric":
            np.testing.assert_array_equal(rows.candidates[column.name].to_numpy(), [column.unknown, 1, 2, 3, 4, 5])


def test_hashed_ids_follow_from_the_ids_that_are_known(tmp_path: Path) -> None:
    write_training_set([part()], tmp_path / "t.parquet")
    rows = read_training_rows(tmp_path / "t.parquet", ["user_bucket", "item_bucket"])
    user, items = stable_bucket(["u1"], BUCKETS["user_bucket"])[0], [f"i{i}" for i in range(5)]
    assert rows.column("user_bucket").to_pylist() == [user, user, 0, user, user, user]
    assert rows.column("item_bucket").to_pylist() == [*stable_bucket(items, BUCKETS["item_bucket"]), 0]
    assert set(pq.read_schema(tmp_path / "t.parquet").names) == {*REQUEST_COLUMNS, *CANDIDATE_COLUMNS}


def test_codes_of_market_and_domain_follow_from_their_names() -> None:
    requests = {"market": pa.chunked_array([["TH", "ID"]]), "domain": pa.chunked_array([["shop", "search"]])}
    codes = stated_features(requests, ("ID", "TH"), "here")
    assert {name: values.to_pylist() for name, values in codes.items()} == {
        "market_code": [1, 0],
        "domain_code": [2, 0],
    }
    with pytest.raises(BadInput, match="here: column market: 'TH' in 1 of 2 rows is not one of ID, VN"):
        stated_features(requests, ("ID", "VN"), "here")


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    with pytest.raises(BadInput, match="no such file"):
        read_training_rows(path)
    path.write_text("text")
    with pytest.raises(BadInput, match="not a readable Parquet file"):
        read_training_rows(path)
    write_training_set([part()], path)
    table = pq.read_table(path)
    changes = {
        "column exposed: other numbers of candidates": pa.array([[0], [1], [0, 0, 0]], pa.list_(pa.int8())),
        "column exposed: null in 1 of 3 requests": pa.array([[0, 0], None, [0, 0, 0]], pa.list_(pa.int8())),
        "column exposed: int8, expected a list": pa.array([0, 1, 0], pa.int8()),
    }
    for message, values in changes.items():
        pq.write_table(table.set_column(table.column_names.index("exposed"), "exposed", values), path)
        with pytest.raises(BadInput, match=message):
            read_training_rows(path)
    pq.write_table(table.drop_columns("exposed"), path)
    with pytest.raises(BadInput, match="missing column exposed"):
        read_training_rows(path)
