"""Every incident that must stop a release is critical, and what is only odd is a warning that grows with the days."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from components.monitoring.drift import compare
from components.monitoring.table_sample import read_sample
from tests.bench.drift_worlds import incidents, quiet_log, write_log
from tests.monitoring.drift_world import CONFIG, read

_INCIDENTS = [
    "a market is gone", "a market is new", "labels flipped", "brand is empty", "price x1000", "traffic down by 90 %",
    "a column is gone", "a domain is gone",
]  # fmt: skip


@pytest.fixture(scope="module")
def world() -> tuple:
    """Both halves of a log in which nothing happens."""
    return quiet_log(0)


@pytest.mark.slow
@pytest.mark.parametrize("name", _INCIDENTS)
def test_an_incident_in_a_log_is_critical(world: tuple, tmp_path: Path, name: str) -> None:
    old, new = incidents(*world)[name]
    assert compare(write_log(old, tmp_path / "old"), write_log(new, tmp_path / "new"), CONFIG, tmp_path / "out") is True


def _page(seed: int, rows: int = 2000) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "market": rng.choice(["TH", "VN"], rows),
            "gender": rng.choice(["men", "women"], rows, p=[0.95, 0.05]),
            "price": rng.normal(100, 10, rows),
            "score": rng.beta(2, 5, rows),
            "p_click": rng.beta(2, 20, rows),
            "label": rng.integers(0, 2, rows),
        }
    )


def _severity(old: pd.DataFrame, new: pd.DataFrame, root: Path, previous: Path | None = None) -> dict:
    for name, frame in (("old", old), ("new", new)):
        frame.to_parquet(root / f"{name}.parquet")
    compare(root / "old.parquet", root / "new.parquet", CONFIG, root / "out", previous=previous)
    return read(root / "out")


@pytest.mark.parametrize(
    "change",
    [
        lambda f: f.assign(gender=np.where(f["gender"] == "men", "women", "men")),
        lambda f: f.assign(score=f["score"] * 0.5),
        lambda f: f.assign(p_click=f["p_click"] * 2),
        lambda f: f.assign(label=np.where(f["market"] == "TH", 0, f["label"])),
        lambda f: f.assign(price=5.0),
        lambda f: f.assign(price=f["price"].astype(str) + " THB"),
        lambda f: pd.concat([f] * 4),
    ],
    ids=["men and women", "served score", "prediction", "label", "constant", "type", "rows x4"],
)
def test_an_incident_in_a_table_is_critical(tmp_path: Path, change) -> None:
    assert _severity(_page(0), change(_page(1)), tmp_path)["severity"] == "critical"


def test_half_the_rows_twice_are_seen(tmp_path: Path) -> None:
    page = _page(1)
    assert _severity(_page(0), pd.concat([page, page.iloc[:1000]]), tmp_path)["severity"] in ("warning", "critical")


def test_the_same_warning_three_days_in_a_row_is_critical(tmp_path: Path) -> None:
    days, previous = [], None
    for day in range(3):
        (tmp_path / str(day)).mkdir()
        new = _page(day + 1)
        found = _severity(_page(0), new.assign(price=new["price"] + 3), tmp_path / str(day), previous)
        days.append(found["severity"])
        previous = tmp_path / str(day) / "out"
    assert days == ["warning", "warning", "critical"]


def _served(path: Path, statuses: list[str]) -> Path:
    """The lines that a server writes of its requests: nested facts differ from line to line."""
    sources = [{"stored": 5}, {"computed": 2, "stored": 1}, {"default": 1}]
    lines = [
        {"request_id": f"{path.name}-{n}", "model": "search", "status": status, "market": "TH",
         "relevance_source": sources[n * 3 // len(statuses)], "items": 10 + n % 7, "latency_ms": 5 + n % 11}
        for n, status in enumerate(statuses)
    ]  # fmt: skip
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_lines_may_differ_in_their_fields_in_a_file_of_any_size(tmp_path: Path) -> None:
    path = _served(tmp_path / "large.jsonl", ["200"] * 120_000)  # beyond a block
    with path.open("a") as file:
        file.write(json.dumps({"request_id": "x", "status": "200", "market": "TH", "late": 1}) + "\n")
    sample = read_sample(path, 1000, 0)
    assert path.stat().st_size > 1 << 24 and sample.rows == {"TH": 120_001}
    assert {"status", "latency_ms", "late"} <= set(sample.table.column_names)


@pytest.mark.parametrize(
    ("before", "now", "severity"),
    [
        (["200"] * 3000, ["500"] * 90 + ["200"] * 2910, "critical"),
        (["OK"] * 2970 + ["INTERNAL"] * 30, ["OK"] * 2850 + ["UNAVAILABLE"] * 150, "critical"),
        (["200"] * 2850 + ["503"] * 150, ["200"] * 2970 + ["503"] * 30, "no"),
        (["200"] * 3000, ["400"] * 90 + ["200"] * 2910, "no"),
        (["200"] * 3000, ["200"] * 3000, "no"),
    ],
    ids=["errors come", "errors grow", "errors go", "bad requests", "none"],
)
def test_more_requests_that_the_server_fails_are_critical(
    tmp_path: Path, before: list[str], now: list[str], severity: str
) -> None:
    rng = np.random.default_rng(0)
    old, new = (
        _served(tmp_path / name, rng.permutation(s).tolist()) for name, s in (("old.jsonl", before), ("new.jsonl", now))
    )
    drifted = compare(old, new, CONFIG, tmp_path / "out")
    assert drifted is (severity == "critical")
    if drifted:
        assert "requests that the server failed" in (tmp_path / "out" / "reports" / "drift.html").read_text()
