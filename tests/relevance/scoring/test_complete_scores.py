"""The second pass: pairs of samples that have no score get one, and nothing else is touched."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.contracts.errors import BadInput
from components.contracts.schemas import SAMPLES
from components.contracts.tables import write_table
from components.contracts.tools.manifest import read_manifest, write_manifest
from components.relevance.complete import complete_scores
from components.relevance.encoding.padded import TextEncoder
from components.relevance.scoring.reference import ReferenceScorer
from tests.relevance.relevance_world import Trained

KEY = ["market", "query", "item_id"]


@dataclass
class Asked:
    log: Path
    samples: Path
    known: pd.DataFrame
    missing: pd.DataFrame


@pytest.fixture
def asked(trained: Trained, tmp_path: Path) -> Asked:
    """Samples of ten judged pairs, and of ten queries with another item of their market; two rows of each."""
    judged = pq.read_table(trained.encodings / "pairs.parquet").to_pandas()
    known, others = judged.iloc[:10], judged.iloc[10:200]
    missing = known[["market", "query"]].assign(
        item_id=[others[others["market"] == market]["item_id"].iloc[n] for n, market in enumerate(known["market"])]
    )
    titles = judged.drop_duplicates("item_id")[["item_id", "title"]]
    missing = missing.merge(titles, on="item_id")
    pairs = pd.concat([missing, known], ignore_index=True)
    write_table(pa.Table.from_pandas(titles, preserve_index=False), tmp_path / "log" / "items.parquet")
    write_manifest(tmp_path / "log", "log", {}, {})
    rows = pd.concat([pairs, pairs], ignore_index=True)
    columns = {name: rows[name].tolist() for name in KEY} | {
        "sample_id": [f"s{n}" for n in range(len(rows))],
        "request_id": [f"r{n}" for n in range(len(rows))],
        "user_id": ["u"] * len(rows),
        "domain": ["rec"] * len(rows),
        "timestamp": [datetime(2026, 1, 1, tzinfo=UTC)] * len(rows),
        "label_source": ["searchified"] * len(rows),
        "query_source": ["nearest"] * len(rows),
        "split": ["train"] * len(rows),
        "position": [None] * len(rows),
    }
    arrays = {
        name: pa.array(columns.get(name, [0] * len(rows)), column.type) for name, column in SAMPLES.columns.items()
    }
    write_table(pa.table(arrays), tmp_path / "samples" / "samples.parquet")
    write_manifest(tmp_path / "samples", "samples", {}, {})
    return Asked(tmp_path / "log", tmp_path / "samples", known, missing)


def completed(trained: Trained, asked: Asked, scores: Path, out: Path) -> pd.DataFrame:
    complete_scores(asked.log, asked.samples, scores, trained.experts, trained.model, trained.config, out)
    return pq.read_table(out / "scores.parquet").to_pandas()


@pytest.fixture
def texts_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, list[tuple[str, str, str]]]:
    """Expert -> pairs that it encodes, with an empty cache."""
    monkeypatch.setenv("ARCHIPELAGO_CACHE", str(tmp_path / "cache"))
    read: dict[str, list[tuple[str, str, str]]] = {}
    encode = TextEncoder.encode_pairs

    def noted(self, pairs, *more):  # type: ignore[no-untyped-def]
        read.setdefault(self.spec.name, []).extend(pairs)
        return encode(self, pairs, *more)

    monkeypatch.setattr(TextEncoder, "encode_pairs", noted)
    return read


def test_missing_pairs_get_the_score_that_serving_would_give(
    trained: Trained, asked: Asked, tmp_path: Path, texts_read: dict[str, list[tuple[str, str, str]]]
) -> None:
    before = pq.read_table(trained.scores / "scores.parquet").to_pandas()
    after = completed(trained, asked, trained.scores, tmp_path / "out")
    assert len(after) == len(before) + 10
    kept = before.merge(after, on=KEY, suffixes=("", "_after"))
    assert len(kept) == len(before) and (kept["relevance"] == kept["relevance_after"]).all()
    added = asked.missing.merge(after, on=KEY)
    scorer = ReferenceScorer.load(trained.model, trained.experts)
    read = {name: set(pairs) for name, pairs in texts_read.items()}
    relevance, experts = scorer.score(*(added[name].tolist() for name in ("market", "query", "title")))
    np.testing.assert_allclose(added["relevance"], relevance, atol=1e-5)
    assert added["experts"].map(list).tolist() == experts.tolist()
    # Only what was missing is read, and only by the experts that its query chooses.
    names = scorer.mixture.spec.experts
    for slot, name in enumerate(names):
        chosen = added[added["experts"].map(lambda places, slot=slot: slot in places)]
        assert {pair[1] for pair in read.get(name, ())} == set(chosen["query"])
    metrics = read_manifest(tmp_path / "out")["metrics"]
    assert metrics == {"pairs": len(after), "added": 10}
    assert (tmp_path / "out" / "thresholds.json").read_bytes() == (trained.scores / "thresholds.json").read_bytes()


def test_what_was_scored_is_not_scored_again(
    trained: Trained, asked: Asked, tmp_path: Path, texts_read: dict[str, list[tuple[str, str, str]]]
) -> None:
    first = completed(trained, asked, trained.scores, tmp_path / "first")
    texts_read.clear()
    second = completed(trained, asked, tmp_path / "first", tmp_path / "second")
    assert not texts_read
    pd.testing.assert_frame_equal(first, second)


def test_an_item_without_a_title_is_bad_input(trained: Trained, asked: Asked, tmp_path: Path) -> None:
    titles = pq.read_table(asked.log / "items.parquet").to_pandas()
    lost = asked.missing["item_id"].iloc[0]
    left = pa.Table.from_pandas(titles[titles["item_id"] != lost], preserve_index=False)
    pq.write_table(left, asked.log / "items.parquet")
    with pytest.raises(BadInput, match=f"pairs have no title .first: '{lost}'"):
        completed(trained, asked, trained.scores, tmp_path / "out")
    assert not (tmp_path / "out").exists()
