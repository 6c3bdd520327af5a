"""Drift between folds of judgments, for runs that have nothing else."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from components.contracts.tables import write_table
from components.contracts.tools.manifest import write_manifest
from components.monitoring.drift import judgment_drift
from components.monitoring.judgment_folds import read_folds
from tests.monitoring.drift_world import CONFIG, MARKETS, read, write_encodings


def _judgments(queries: int = 150, per_query: int = 6) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = [
        {
            "query_id": f"{market}-q{q}",
            "market": market,
            "query": f" Query {'x' * length} {q} ",
            "item_id": f"{market}-i{q}-{i}",
            "title": "title " * int(rng.integers(1, 9)),
            "grade": float(rng.integers(0, 4)) / 3,
        }
        for market in MARKETS
        for q, length in enumerate(rng.integers(1, 30, queries))
        for i in range(per_query)
    ]
    return pd.DataFrame(rows)


def _log(root: Path, judgments: pd.DataFrame) -> Path:
    write_table(pa.Table.from_pandas(judgments, preserve_index=False), root / "judgments.parquet")
    write_manifest(root, "log", {}, {}, simulated=False, markets=list(MARKETS), as_of=None)
    return root


def _drift(root: Path, judgments: pd.DataFrame) -> dict:
    log = _log(root / "log", judgments)
    encodings = write_encodings(judgments.assign(query=judgments["query"].str.strip().str.lower()), root / "encodings")
    judgment_drift(log, encodings, CONFIG, root / "drift")
    return read(root / "drift")


def test_halves_by_hash_are_alike(tmp_path: Path) -> None:
    found = _drift(tmp_path, _judgments())
    assert found["kind"] == "relevance" and found["drifted"] is False and found["simulated"] is False
    tested = {f["column"] for f in found["findings"] if f["p_values"]}
    assert {"grade", "query_chars", "title_words", "title", "pair (e5-small)"} <= tested
    # A query counts once, and 75 a half are too few: said, not passed over.
    assert {(u["market"], u["column"]) for u in found["untested"]} == {("TH", "query"), ("VN", "query")}
    assert "one half of the queries" in found["windows"]["reference"]


def test_a_test_split_unlike_the_training_split_drifts(tmp_path: Path) -> None:
    judgments = _judgments()
    late = judgments["query_id"].str.extract(r"(\d+)$")[0].astype(int) >= 75
    judgments["split"] = np.where(late, "test", "train")
    unlike = late & (judgments["market"] == "TH")
    judgments.loc[unlike, "grade"] = np.sqrt(judgments.loc[unlike, "grade"].clip(lower=0.2))
    judgments.loc[unlike, "query"] += " and many words more than before"
    found = _drift(tmp_path, judgments)
    assert found["windows"]["reference"].startswith("split train")
    assert found["markets"]["TH"]["critical"] and not found["markets"]["VN"]["warnings"]
    drifted = {
        f["column"] for f in found["findings"] if f["severity"] in ("warning", "critical") and f["market"] == "TH"
    }
    assert {"grade", "query_chars", "query_words"} <= drifted


@pytest.mark.parametrize("split", [None, "train", "test"], ids=["none", "all train", "all test"])
def test_a_split_that_splits_nothing_gives_way_to_halves_that_share_no_query(tmp_path: Path, split) -> None:
    reference, current, _ = read_folds(_log(tmp_path, _judgments().assign(split=split)))
    assert not set(reference["query_key"]) & set(current["query_key"])
    assert 0.35 < len(reference) / (len(reference) + len(current)) < 0.65
