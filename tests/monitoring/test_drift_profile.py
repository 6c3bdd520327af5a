"""A profile in a reference's place: what it holds, what is found with it, and that it is not surer than rows."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from components.contracts.errors import BadInput
from components.monitoring.config import MonitoringConfig
from components.monitoring.drift import compare, compare_pairs
from components.monitoring.findings import control, moved
from components.monitoring.profile_pairs import make_profile, pair_profile
from components.monitoring.profiles import RARE, ColumnProfile
from components.monitoring.table_pairs import pair_samples
from components.monitoring.table_sample import sample_rows
from tests.monitoring.drift_world import read

CONFIG = MonitoringConfig(draws=5000)


def _table(seed: int, rows: int = 3000) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "market": rng.choice(["TH", "VN"], rows),
            "price": rng.lognormal(5, 1, rows),
            "stars": np.where(rng.random(rows) < 0.05, np.nan, rng.integers(1, 6, rows)),
            "kind": rng.choice(["a", "b", "c"], rows, p=[0.6, 0.3, 0.1]),
            "name": [f"secret {seed} {i}" for i in range(rows)],
            "label": (rng.random(rows) < 0.2) * 1,
        }
    )


def _compare(old: pd.DataFrame, new: pd.DataFrame, root: Path) -> dict:
    """The comparison of `new` with the profile that a comparison of `old` leaves."""
    for name, frame in (("old", old), ("new", new)):
        frame.to_parquet(root / f"{name}.parquet")
    compare(root / "old.parquet", root / "old.parquet", CONFIG, root / "first")
    compare(root / "first" / "profile.json", root / "new.parquet", CONFIG, root / "second")
    return read(root / "second")


def test_a_profile_holds_quantiles_and_counts_and_no_rows(tmp_path: Path) -> None:
    table = _table(0)
    _compare(table, table, tmp_path)
    text = (tmp_path / "first" / "profile.json").read_text()
    assert "secret" not in text, "what few rows hold is not in it"
    price = json.loads(text)["tables"]["old"]["markets"]["TH"]["price"]
    assert len(price["values"]) == 100 and sum(price["counts"]) == (table["market"] == "TH").sum()
    assert not set(price["values"]) & set(table["price"])
    assert json.loads(text)["tables"]["old"]["markets"]["TH"]["kind"]["values"] == ["a", "b", "c"]


def test_nothing_moves_against_ones_own_profile_or_another_draw(tmp_path: Path) -> None:
    for seed in (0, 1):
        (tmp_path / str(seed)).mkdir()
        table = _table(0).assign(name="x")
        found = _compare(table, _table(seed).assign(name="x"), tmp_path / str(seed))
        assert found["severity"] in ("none", "info") and set(found["markets"]) == {"TH", "VN", "all"}


@pytest.mark.parametrize(
    ("change", "column"),
    [
        (lambda f: f.assign(price=f["price"] * 1000), "price"),
        (lambda f: f.assign(price=f["price"] * 1.4), "price"),
        (lambda f: f.assign(stars=f["stars"].mask(f.index % 5 == 0)), "stars"),
        (lambda f: f.assign(kind=f["kind"].where(f.index % 20 > 0, "new")), "kind"),
        (lambda f: f.assign(label=1 - f["label"]), "label"),
        (lambda f: f[f["market"] == "TH"], "*"),
        (lambda f: f.iloc[:300], "*"),
        (lambda f: f.drop(columns="kind"), "kind"),
        (lambda f: f.assign(more=1), "more"),
        (lambda f: f.assign(stars="many"), "stars"),
        (lambda f: pd.concat([f, f.iloc[: len(f) // 2]], ignore_index=True), "repeated rows"),
    ],
    ids=["x1000", "x1.4", "missing", "category", "label", "market", "rows", "gone", "new", "retyped", "twice"],
)
def test_what_moves_is_found_with_a_profile(tmp_path: Path, change, column: str) -> None:
    found = _compare(_table(0), change(_table(1)), tmp_path)
    serious = {
        f["column"].removeprefix("old."): f for f in found["findings"] if f["severity"] in ("warning", "critical")
    }
    assert column in serious


def test_a_unit_changed_is_said_by_the_rows_own_median(tmp_path: Path) -> None:
    table = _table(1)
    found = _compare(_table(0), table.assign(price=table["price"] * 1000), tmp_path)
    said = [f["broken"] for f in found["findings"] if f["column"] == "old.price" and f["severity"] == "critical"]
    assert said and all("the unit changed: x" in words for words in said)


def test_users_rows_count_as_in_rows_themselves() -> None:
    def world(seed: int) -> pd.DataFrame:
        rng = np.random.default_rng(seed)
        users = rng.integers(0, 120, 2400)
        return pd.DataFrame({"user": [f"{seed}-{u}" for u in users], "value": rng.normal(size=120)[users]})

    false = 0
    for trial in range(40):
        old, new = (
            sample_rows([pa.Table.from_pandas(world(2 * trial + i), preserve_index=False)], 5000, 0) for i in (0, 1)
        )
        profile = make_profile([pair_samples("t", old, old, "user")], False, CONFIG)
        findings, _ = compare_pairs([pair_profile("t", profile["t"], new)], CONFIG)
        false += any(moved(f, CONFIG) for f in control(findings, CONFIG))
    assert false <= 7  # 2 expected; 8 or more have a chance of 0.2 %; taken for independent, nearly all would "move"


def test_rare_values_are_one_category() -> None:
    values = np.array(["a"] * 50 + ["b"] * 4 + [None], dtype=object)
    profile = ColumnProfile.of(values, None, 0)
    assert (profile.values, profile.counts, profile.missing) == (["a", RARE], [50, 4], 1)
    assert profile.seen_as(np.array(["a", "b", "z", None], dtype=object)).tolist() == ["a", RARE, RARE, None]
    assert profile.rows == 55 and len(profile.expand()[0]) == 55


@pytest.mark.parametrize("content", ['{"kind": "drift"}', "[]", '{"kind": "data profile", "version": 1}'])
def test_what_is_no_profile_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "profile.json").write_text(content)
    _table(0).to_parquet(tmp_path / "new.parquet")
    with pytest.raises(BadInput, match="profile"):
        compare(tmp_path / "profile.json", tmp_path / "new.parquet", CONFIG, tmp_path / "out")


def test_a_log_is_compared_with_its_profile_and_not_with_a_tables(tmp_path: Path) -> None:
    _compare(_table(0), _table(0), tmp_path)
    log = tmp_path / "log"
    log.mkdir()
    users = pd.DataFrame({"user_id": [f"TH-{i}" for i in range(400)], "market": "TH", "age": np.arange(400) % 7})
    users.to_parquet(log / "users.parquet")
    compare(log, log, CONFIG, tmp_path / "of-log")
    assert compare(tmp_path / "of-log" / "profile.json", log, CONFIG, tmp_path / "again") is False
    with pytest.raises(BadInput, match="one is of a log directory"):
        compare(tmp_path / "of-log" / "profile.json", tmp_path / "new.parquet", CONFIG, tmp_path / "no")
