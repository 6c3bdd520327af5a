"""Tables in every form that people have them, and samples that are true to them."""

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.contracts.errors import BadInput
from components.monitoring.drift import compare
from components.monitoring.table_sample import NO_MARKET, PRIORITY, REPEATED, read_sample, sample_rows
from tests.monitoring.drift_world import CONFIG, read

FRAME = pd.DataFrame(
    {
        "market": ["TH", "TH", "VN", None] * 100,
        "price": np.round(np.random.default_rng(0).normal(0, 50, 400), 2),
        "count": np.arange(400) % 7,
        "title": ["a, b; c", "d\te", "two words", None] * 100,
        "flag": [True, False] * 200,
        "at": pd.date_range("2026-01-01", periods=400, freq="h", tz="UTC").astype("datetime64[us, UTC]"),
    }
)


def _write(frame: pd.DataFrame, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    delimiter = {"semicolon": ";", "tab": "\t", "pipe": "|"}.get(path.name.split(".")[0], ",")
    if ".parquet" in path.name:
        frame.to_parquet(path, index=False)
    elif ".jsonl" in path.name:
        times = frame.assign(at=frame["at"].dt.strftime("%Y-%m-%dT%H:%M:%S"))
        text = times.to_json(orient="records", lines=True)
        path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    else:
        frame.to_csv(path, index=False, sep=delimiter)
    return path


@pytest.mark.parametrize(
    "name",
    ["a.parquet", "a.csv", "a.csv.gz", "semicolon.csv", "tab.tsv", "pipe.txt", "a.jsonl", "a.jsonl.gz"],
)
def test_every_form_reads_as_the_same_table(tmp_path: Path, name: str) -> None:
    sample = read_sample(_write(FRAME, tmp_path / name), 1000, 0)
    found = sample.table.drop_columns([PRIORITY, REPEATED]).to_pandas()
    assert found["price"].tolist() == FRAME["price"].tolist() and found["price"].min() < 0
    assert found["count"].tolist() == FRAME["count"].tolist() and found["flag"].tolist() == FRAME["flag"].tolist()
    assert found["title"].fillna("").tolist() == FRAME["title"].fillna("").tolist()
    assert pd.to_datetime(found["at"], utc=True).tolist() == FRAME["at"].tolist()
    assert sample.rows == {"TH": 200, "VN": 100, NO_MARKET: 100}


def test_a_folder_holds_parts_whose_widths_may_differ(tmp_path: Path) -> None:
    for part, kind in enumerate((pa.int16(), pa.int64(), pa.float64())):
        rows = FRAME.iloc[part::3]
        table = pa.Table.from_pandas(rows, preserve_index=False)
        place = table.column_names.index("count")
        path = tmp_path / "parts" / f"day={part}" / "part.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(table.set_column(place, "count", table["count"].cast(kind)), path)
    (tmp_path / "parts" / "_SUCCESS").touch()
    whole = _write(FRAME, tmp_path / "whole.csv")
    assert read_sample(tmp_path / "parts", 1000, 0).table.num_rows == 400
    compare(tmp_path / "parts", whole, CONFIG.model_copy(update={"min_rows": 50}), tmp_path / "drift")
    found = read(tmp_path / "drift")
    assert not [f for f in found["findings"] if f["severity"] in ("warning", "critical")]
    assert {"parts.price", "parts.count"} <= {f["column"] for f in found["findings"] if f["p_values"]}


def test_parts_of_other_types_are_refused(tmp_path: Path) -> None:
    _write(FRAME, tmp_path / "parts" / "a.parquet")
    _write(FRAME.assign(price="high"), tmp_path / "parts" / "b.parquet")
    with pytest.raises(BadInput, match="parts: not readable"):
        read_sample(tmp_path / "parts", 1000, 0)


def test_a_sample_is_drawn_by_market_and_true_over_all_of_them() -> None:
    rng = np.random.default_rng(0)
    markets = rng.choice(["large", "small"], 60_000, p=[0.9, 0.1])
    whole = pa.table({"market": markets, "value": np.arange(60_000)})
    batches = [whole.slice(start, 1000) for start in range(0, 60_000, 1000)]
    sample = sample_rows(batches, 2000, 1)
    frame = sample.table.to_pandas()
    assert frame["market"].value_counts().to_dict() == {"large": 2000, "small": 2000}
    assert sample.rows == {"large": int((markets == "large").sum()), "small": int((markets == "small").sum())}
    of_all = frame.nsmallest(2000, PRIORITY)
    assert (of_all["market"] == "small").mean() == pytest.approx(0.1, abs=0.03)
    assert of_all["value"].mean() == pytest.approx(30_000, rel=0.06)
    assert sample_rows(batches, 2000, 1).table.equals(sample.table)


def test_rows_that_repeat_others_are_marked_whether_those_are_in_the_sample_or_not() -> None:
    table = pa.table({"value": np.arange(20_000)})
    sample = sample_rows([table, table.slice(0, 10_000)], 500, 0)
    repeated = np.mean(np.array(sample.table[REPEATED].to_pylist()) == REPEATED)
    assert sample.table.num_rows == 500 and repeated == pytest.approx(1 / 3, abs=0.07)


def test_times_in_json_lines_are_times(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(f'{{"seen": "2026-03-01T10:00:{n:02d}+00:00", "code": "{n}"}}\n' for n in range(20)))
    table = read_sample(path, 100, 0).table
    assert pa.types.is_timestamp(table["seen"].type) and pa.types.is_string(table["code"].type)
