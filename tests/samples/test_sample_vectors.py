"""Nearest past query and title cosines against brute force, in numpy."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from components.contracts.errors import BadInput
from components.contracts.schemas import TIMESTAMP
from components.samples import vectors
from components.samples.vectors import Vectors, cosines, nearest_past_queries

START = datetime(2026, 1, 1, tzinfo=UTC)


def column(values: list, kind: pa.DataType | None = None) -> pa.ChunkedArray:  # type: ignore[type-arg]
    return pa.chunked_array([pa.array(values, kind)])


def make(keys: list[str], matrix: np.ndarray) -> Vectors:
    return Vectors.of(column(keys), column(matrix.tolist(), pa.list_(pa.float32())), "test")


def test_nearest_past_query_equals_brute_force(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "_ITEM_BLOCK", 4)
    rng = np.random.default_rng(0)
    items, queries, markets = [f"i{n}" for n in range(11)], [f"q{n}" for n in range(9)], ["TH", "VN"]
    title = rng.normal(size=(11, 5))
    query = rng.normal(size=(18, 5))
    keys = [f"{market}:{q}" for market in markets for q in queries]
    seen = {key: START + timedelta(hours=int(rng.integers(30))) for key in keys}
    needs = [(f"n{n}", items[rng.integers(11)], markets[rng.integers(2)], int(rng.integers(33))) for n in range(200)]
    needs.append(("no vector", "unknown", "TH", 32))
    answer = nearest_past_queries(
        pa.table(
            {
                "need_id": [n[0] for n in needs],
                "item_id": [n[1] for n in needs],
                "market": [n[2] for n in needs],
                "timestamp": pa.array([START + timedelta(hours=n[3]) for n in needs], TIMESTAMP),
            }
        ),
        pa.table(
            {
                "market": [key[:2] for key in keys],
                "query": [key[3:] for key in keys],
                "first_seen": pa.array([seen[key] for key in keys], TIMESTAMP),
            }
        ),
        make(items, title),
        make(keys, query),
    )
    unit = query / np.linalg.norm(query, axis=1, keepdims=True)
    expected = {}
    for need_id, item, market, hour in needs[:-1]:
        past = [i for i, key in enumerate(keys) if key[:2] == market and seen[key] < START + timedelta(hours=hour)]
        if past:
            best = max(past, key=lambda i: float(unit[i] @ title[items.index(item)]))
            expected[need_id] = keys[best][3:]
    assert 100 < len(expected) < 200
    assert dict(zip(answer["need_id"].to_pylist(), answer["query"].to_pylist(), strict=True)) == expected


def test_cosines_scale_and_missing_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "_BLOCK", 2)
    some = make(["b", "a", "c"], np.array([[0, 2.0], [3.0, 0], [1.0, 1.0]]))
    left, right = column(["a", "a", "a", "x", "b"]), column(["a", "b", "c", "a", "c"])
    found = cosines(some, left, some, right)
    np.testing.assert_allclose(found, [1, 0, 2**-0.5, np.nan, 2**-0.5], rtol=1e-6)


@pytest.mark.parametrize(
    ("rows", "problem"), [([[1.0], [1.0, 2.0]], "widths"), ([[1.0], [float("nan")]], "NaN"), ([[], []], "widths")]
)
def test_bad_vectors_are_refused(rows: list[list[float]], problem: str) -> None:
    with pytest.raises(BadInput, match=problem):
        Vectors.of(column(["a", "b"]), column(rows, pa.list_(pa.float32())), "title_vectors")
