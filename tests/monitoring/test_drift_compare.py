"""The `drift` command's comparison: any two files, or two log directories."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from components.contracts.errors import BadInput
from components.contracts.schemas import LOG_TABLES
from components.marketplace.config import MarketplaceConfig
from components.marketplace.simulator.simulate import simulate
from components.monitoring.drift import compare
from components.monitoring.table_pairs import read_pairs
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
    columns_of_rows = {"repeated rows", "market"}
    assert columns == {"score", "kind", "flag", "query", "query (characters)", "timestamp (hour)"} | columns_of_rows
    assert set(found["markets"]) == {"TH", "VN", "all"}


def test_one_file_with_a_shift_drifts(tmp_path: Path) -> None:
    shifted = _table(1, shift=1.0).assign(kind="a")
    old, new = _write(_table(0), tmp_path / "old.parquet"), _write(shifted, tmp_path / "new.parquet")
    assert compare(old, new, CONFIG, tmp_path / "drift") is True
    assert any((tmp_path / "drift" / "reports").glob("evidently-*.html"))


def test_a_file_without_markets_is_one(tmp_path: Path) -> None:
    old, new = (_write(_table(i).drop(columns="market"), tmp_path / f"{i}.parquet") for i in (0, 1))
    assert compare(old, new, CONFIG, tmp_path / "drift") is False
    assert set(read(tmp_path / "drift")["markets"]) == {"all"}


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
    compare(*drifted_logs, CONFIG, tmp_path)
    found = read(tmp_path)
    assert found["simulated"] is True
    assert {f["table"] for f in found["findings"]} == {schema.name for schema in LOG_TABLES}
    drifted = {f["column"] for f in found["findings"] if f["severity"] in ("warning", "critical")}
    assert {"requests.query", "events.price"} <= drifted
    # Users and judgments don't move with the dial, and many quiet columns of theirs must not hide those that do.
    assert not any(column.startswith(("users.", "judgments.")) for column in drifted)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("absent.parquet", "b.parquet", "no such file or directory"),
        ("a.parquet", "log", "one is a log directory, the other is not"),
        ("folder", "folder", "empty, 0 rows"),
        ("a.parquet", "table.xlsx", "not one of the formats"),
        ("a.parquet", "broken.parquet", "not readable as"),
        ("a.parquet", "empty.parquet", "empty, 0 rows"),
        ("ids.parquet", "ids.parquet", "no column to compare"),
    ],
)
def test_bad_input_is_one_clear_error_and_writes_nothing(tmp_path: Path, old: str, new: str, message: str) -> None:
    table = _table(0, rows=20)
    for name, frame in {
        "a": table,
        "b": table,
        "empty": table.iloc[:0],
        "ids": table[["row_id", "user_id", "vector"]],
    }.items():
        _write(frame, tmp_path / f"{name}.parquet")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 but not really")
    (tmp_path / "folder").mkdir()
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "items.csv").write_text("item_id\n1\n")
    (tmp_path / "table.xlsx").write_bytes(b"PK")
    with pytest.raises(BadInput, match=message):
        compare(tmp_path / old, tmp_path / new, CONFIG, tmp_path / "drift")
    assert not (tmp_path / "drift").exists()


def test_a_table_that_is_gone_is_critical_and_the_others_are_compared(
    drifted_logs: tuple[Path, Path], tmp_path: Path
) -> None:
    for name in ("items", "users"):
        source = drifted_logs[0] / f"{name}.parquet"
        (tmp_path / source.name).write_bytes(source.read_bytes())
    assert compare(drifted_logs[0], tmp_path, CONFIG, tmp_path / "drift") is True
    found = read(tmp_path / "drift")["findings"]
    gone = {f["table"] for f in found if f["broken"] == "the table is gone"}
    assert gone == {"requests", "candidates", "events", "judgments"}
    assert {f["table"] for f in found if f["p_values"]} == {"items", "users"}


@pytest.mark.parametrize(
    ("change", "column", "broken"),
    [
        (lambda t: t.drop(columns="score"), "score", "the column is gone"),
        (lambda t: t.assign(extra=1.0), "extra", "the column is new"),
        (lambda t: t.assign(score="high"), "score", "type double -> string"),
    ],
    ids=["gone", "new", "retyped"],
)
def test_another_schema_is_critical_and_the_rest_is_compared(tmp_path: Path, change, column: str, broken: str) -> None:
    old, new = _write(_table(0), tmp_path / "t.parquet"), _write(change(_table(1)), tmp_path / "u.parquet")
    assert compare(old, new, CONFIG, tmp_path / "drift") is True
    found = read(tmp_path / "drift")["findings"]
    (fact,) = [f for f in found if f["scope"] == "schema"]
    assert (fact["column"], fact["broken"], fact["severity"]) == (f"t.{column}", broken, "critical")
    assert "t.kind" in {f["column"] for f in found if f["p_values"]}


def test_what_says_nothing_of_a_distribution_is_no_finding(tmp_path: Path) -> None:
    # Digits alone in a batch of text, ids of another type, row numbers that pandas wrote, an index in whole numbers.
    old = _table(0).assign(brand="x1", item_id="x1", number=range(900))
    new = _table(1).assign(brand=1, item_id=1, number=range(900, 1800)).iloc[::-1]
    for frame, name in ((old, "a"), (new, "b")):
        frame.drop(columns="vector").to_csv(tmp_path / f"{name}.csv", index=name == "b")
    compare(tmp_path / "a.csv", tmp_path / "b.csv", CONFIG, tmp_path / "drift")
    found = read(tmp_path / "drift")["findings"]
    assert {f["column"] for f in found if f["severity"] == "critical"} == {"a.brand"}
    assert not {"a.item_id", "a.number", "a.Unnamed: 0"} & {f["column"] for f in found}


def test_repeated_rows_are_found(tmp_path: Path) -> None:
    twice = pd.concat([_table(1), _table(1).iloc[:450]])
    old, new = _write(_table(0), tmp_path / "t.csv"), _write(twice, tmp_path / "u.csv")
    compare(old, new, CONFIG, tmp_path / "drift")
    (found,) = [
        f for f in read(tmp_path / "drift")["findings"] if f["column"] == "t.repeated rows" and f["market"] == "all"
    ]
    assert found["severity"] == "critical" and "100% -> 67%" in found["what"]


def test_rows_without_a_market_are_a_group_of_their_own(tmp_path: Path) -> None:
    paths = []
    for name, seed in (("t", 0), ("u", 1)):
        table = _table(seed).assign(market=lambda t: t["market"].where(t["market"] == "TH"))
        paths.append(_write(table, tmp_path / f"{name}.parquet"))
    compare(*paths, CONFIG, tmp_path / "drift")
    assert set(read(tmp_path / "drift")["markets"]) == {"TH", "(none)", "all"}


def test_an_entity_is_named_and_never_guessed(tmp_path: Path) -> None:
    # Few users with a taste each: their rows look like a move to a test that takes each row on its own.
    def few(seed: int) -> pd.DataFrame:
        taste = np.random.default_rng(seed).normal(size=60)
        return _table(seed).assign(
            user_id=lambda t: np.arange(900) % 60 + 60 * seed, taste=lambda t: taste[t.user_id % 60]
        )

    old, new = _write(few(0), tmp_path / "t.parquet"), _write(few(1), tmp_path / "u.parquet")
    said = {}
    for entity in (None, "user_id"):
        compare(old, new, CONFIG, tmp_path / str(entity), entity)
        found = read(tmp_path / str(entity))["findings"]
        said[entity] = [f["severity"] for f in found if f["column"] == "t.taste" and f["market"] == "all"]
    assert said[None] != ["none"] and said["user_id"] == ["none"]
    with pytest.raises(BadInput, match="no column who, which --entity names"):
        compare(old, new, CONFIG, tmp_path / "refused", "who")


def test_warnings_are_counted_over_windows(tmp_path: Path) -> None:
    old = _write(_table(0), tmp_path / "t.parquet")
    previous = None
    for day in range(3):
        new = _write(_table(day + 1, shift=0.4), tmp_path / "u.parquet")
        out = tmp_path / f"day{day}"
        assert compare(old, new, CONFIG.model_copy(update={"critical_outcome_psi": 1}), out, None, previous) is (
            day == 2
        )
        previous = out
    with pytest.raises(BadInput, match=r"no drift\.json"):
        compare(old, new, CONFIG, tmp_path / "refused", previous=tmp_path)


def test_a_log_is_read_by_its_own_mapping(drifted_logs: tuple[Path, Path], tmp_path: Path) -> None:
    """Own names for columns and items of the same id in several markets are what `mapping.yaml` says they are."""
    for side in drifted_logs:
        folder = tmp_path / side.name
        shutil.copytree(side, folder)
        items = pq.read_table(folder / "items.parquet")
        renamed = ["SKU" if name == "item_id" else name for name in items.column_names]
        pq.write_table(items.rename_columns(renamed), folder / "items.parquet")
        (folder / "mapping.yaml").write_text("columns: {items: {item_id: SKU}}\nitems_per_market: true\n")
    mapped = read_pairs(*(tmp_path / side.name for side in drifted_logs), CONFIG)
    plain = read_pairs(*drifted_logs, CONFIG)
    assert [(pair.name, pair.specs) for pair in mapped] == [(pair.name, pair.specs) for pair in plain]
    assert {"items", "candidates"} <= {pair.name for pair in mapped}
