"""What the stage refuses, in one line that says what and where."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from components.contracts.errors import BadInput
from components.samples.build import build_samples
from components.samples.config import SamplesConfig
from components.samples.inputs import normalised_queries
from tests.samples.hand_log import AS_OF, DAYS, HandLog, day


def thresholds(content: object) -> Callable[[Path], None]:
    return lambda root: (root / "scores" / "thresholds.json").write_text(json.dumps(content)) and None


def drop_market(root: Path) -> None:
    path = root / "scores" / "scores.parquet"
    table = pq.read_table(path)
    pq.write_table(table.filter(pc.not_equal(table["market"], "VN")), path)


def null_query(root: Path) -> None:
    path = root / "log" / "requests.parquet"
    table = pq.read_table(path)
    gone = pa.array([None, *table["query"].to_pylist()[1:]], pa.string())
    pq.write_table(table.set_column(table.schema.get_field_index("query"), "query", gone), path)


def remove(name: str) -> Callable[[Path], None]:
    return lambda root: (root / name).unlink()


def truncate(root: Path) -> None:
    path = root / "log" / "events.parquet"
    path.write_bytes(path.read_bytes()[:100])


CASES = {
    "threshold missing": (thresholds({"TH": 0.5}), "thresholds.json: no threshold for market VN"),
    "threshold NaN": (thresholds({"TH": 0.5, "VN": float("nan")}), "threshold of market VN is nan"),
    "threshold text": (thresholds({"TH": "0.5", "VN": 0.5}), "threshold of market TH is '0.5'"),
    "thresholds a list": (thresholds([0.5]), "thresholds.json: expected a JSON object"),
    "market unscored": (drop_market, "scores.parquet: no scores for market VN"),
    "search without query": (null_query, "column query: null in 1 of 4 search requests"),
    "no title vectors": (remove("encodings/title_vectors.parquet"), "no file title_vectors.parquet"),
    "no scores": (remove("scores/scores.parquet"), "no file scores.parquet"),
    "truncated": (truncate, "events.parquet: not a readable Parquet file"),
}


@pytest.mark.parametrize(("spoil", "message"), CASES.values(), ids=CASES.keys())
def test_bad_input_is_named_and_nothing_is_written(tmp_path: Path, spoil: Callable[[Path], None], message: str) -> None:
    log = HandLog()
    log.search(day(-12), "a")
    log.item("v", market="VN")
    log.search(day(-12), "v", market="VN", user="v")
    paths = log.write(tmp_path)
    spoil(tmp_path)
    with pytest.raises(BadInput, match=message):
        build_samples(*paths, SamplesConfig(**DAYS), AS_OF, tmp_path / "out" / "samples")
    assert list((tmp_path / "out").iterdir()) == []


def test_distinct_queries_are_normalised_once_and_nulls_stay() -> None:
    raw = pa.chunked_array([["  Red  PHONE", None, "ＣＡＳＥ"], ["red phone"]])
    assert normalised_queries(raw).to_pylist() == ["red phone", None, "case", "red phone"]
    assert normalised_queries(pa.chunked_array([pa.array([None], pa.string())])).to_pylist() == [None]
