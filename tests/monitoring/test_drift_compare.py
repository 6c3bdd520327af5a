"""The `drift` command's comparison: any two files, or two log directories."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from components.contracts.errors import BadInput
from components.contracts.schemas import LOG_TABLES
from components.marketplace.config import MarketplaceConfig
from components.marketplace.simulator.simulate import simulate
from components.monitoring.drift import compare
from tests.monitoring.drift_world import CONFIG, read

AS_OF = datetime(2026, 1, 1, tzinfo=UTC)


def _table(seed: int, shift: float = 0.0, rows: int = 900) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "row_id": range(rows),
            "user_id": rng.integers(0, 200, rows).astype(str),
            "market": rng.choice(["TH", "VN"], rows),
            "score": rng.normal(shift, 1, rows),
            "kind": rng.choice(["a", "b"], rows),
            "flag": rng.random(rows) < 0.5,
            "query": ["word " * int(n) for n in rng.integers(1, 6, rows)],
            "timestamp": pd.date_range("2026-01-01", periods=rows, freq="16min", tz="UTC"),
            "vector": [[1.0, 2.0]] * rows,
        }
    )


def _write(frame: pd.DataFrame, path: Path) -> Path:
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.drop(columns="vector").to_csv(path, index=False)
    return path


@pytest.mark.parametrize("suffix", [".parquet", ".csv.gz"])
def test_files_without_a_shift_do_not_drift(tmp_path: Path, suffix: str) -> None:
    old, new = _write(_table(0), tmp_path / f"old{suffix}"), _write(_table(1), tmp_path / f"new{suffix}")
    assert compare(old, new, CONFIG, tmp_path / "drift") is False
    found = read(tmp_path / "drift")
    columns = {f["column"].removeprefix("old.") for f in found["findings"]}
    assert columns == {"score", "kind", "flag", "query", "query (characters)", "timestamp (hour)", "market"}
    assert set(found["shares"]) == {"TH", "VN", "all"}


def test_one_file_with_a_shift_drifts(tmp_path: Path) -> None:
    shifted = _table(1, shift=1.0).assign(kind="a")
    old, new = _write(_table(0), tmp_path / "old.parquet"), _write(shifted, tmp_path / "new.parquet")
    assert compare(old, new, CONFIG, tmp_path / "drift") is True
    assert (tmp_path / "drift" / "reports" / "evidently.html").stat().st_size > 100_000


def test_a_file_without_markets_is_one(tmp_path: Path) -> None:
    old, new = (_write(_table(i).drop(columns="market"), tmp_path / f"{i}.parquet") for i in (0, 1))
    assert compare(old, new, CONFIG, tmp_path / "drift") is False
    assert set(read(tmp_path / "drift")["shares"]) == {"all"}


def _logs(root: Path, **current: float) -> tuple[Path, Path]:
    """Two simulated logs of one market; the second with the dials given."""
    for name, dials in (("reference", {}), ("current", current)):
        config = MarketplaceConfig(markets=("TH",), days=14, search_requests=700, rec_requests=300, **dials)
        simulate(config, AS_OF, root / name)
    return root / "reference", root / "current"


@pytest.fixture(scope="module")
def drifted_logs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return _logs(tmp_path_factory.mktemp("logs"), drift=1.0, drift_days=14)


def test_a_log_with_the_drift_dial_up_drifts_where_it_moved(drifted_logs: tuple[Path, Path], tmp_path: Path) -> None:
    assert compare(*drifted_logs, CONFIG, tmp_path) is True
    found = read(tmp_path)
    assert found["simulated"] is True
    assert {f["table"] for f in found["findings"]} == {schema.name for schema in LOG_TABLES}
    drifted = {f["column"] for f in found["findings"] if f["drifted"]}
    assert {"requests.query", "events.price"} <= drifted
    # Users and judgments don't move with the dial, and many quiet columns of theirs must not hide those that do.
    assert not any(column.startswith(("users.", "judgments.")) for column in drifted)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("absent.parquet", "b.parquet", "no such file or directory"),
        ("a.parquet", "folder", "one is a directory, the other a file"),
        ("folder", "folder", "none of the tables"),
        ("a.parquet", "fewer.parquet", "column score on one side only"),
        ("a.parquet", "retyped.parquet", "column score is double on one side, string on the other"),
        ("a.parquet", "broken.parquet", "not a readable Parquet or CSV file"),
        ("a.parquet", "empty.parquet", "empty, 0 rows"),
        ("ids.parquet", "ids.parquet", "no column to compare"),
    ],
)
def test_bad_input_is_one_clear_error_and_writes_nothing(tmp_path: Path, old: str, new: str, message: str) -> None:
    table = _table(0, rows=20)
    for name, frame in {
        "a": table,
        "b": table,
        "fewer": table.drop(columns="score"),
        "retyped": table.assign(score="high"),
        "empty": table.iloc[:0],
        "ids": table[["row_id", "user_id", "vector"]],
    }.items():
        _write(frame, tmp_path / f"{name}.parquet")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 but not really")
    (tmp_path / "folder").mkdir()
    with pytest.raises(BadInput, match=message):
        compare(tmp_path / old, tmp_path / new, CONFIG, tmp_path / "drift")
    assert not (tmp_path / "drift").exists()


def test_a_log_that_lacks_a_table_of_the_other_is_refused(drifted_logs: tuple[Path, Path], tmp_path: Path) -> None:
    for name in ("items", "users"):
        source = drifted_logs[0] / f"{name}.parquet"
        (tmp_path / source.name).write_bytes(source.read_bytes())
    with pytest.raises(BadInput, match="no table"):
        compare(drifted_logs[0], tmp_path, CONFIG, tmp_path / "drift")
