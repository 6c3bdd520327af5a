"""The simulator's worlds through the real samples and features: quiet by default, found with the dial up."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from components.contracts.tables import write_table
from components.contracts.tools.manifest import write_manifest
from components.contracts.training_set import TRAINING_SET, read_training_rows
from components.features.config import FeaturesConfig
from components.features.join import join_training_set
from components.features.tables import build_feature_tables
from components.marketplace.config import MarketplaceConfig
from components.marketplace.simulator.simulate import simulate
from components.monitoring.config import MonitoringConfig
from components.monitoring.drift import search_drift
from components.samples.build import build_samples
from components.samples.config import SamplesConfig
from tests.monitoring.drift_world import read, write_ranker
from tests.samples.stand_in_scores import write_stand_ins

AS_OF = datetime(2026, 1, 1, tzinfo=UTC)
_RANKED = ["request_id", "item_id", "market", "timestamp", "split"]
pytestmark = pytest.mark.slow


def _drift(root: Path, drift: float) -> dict:
    log, samples, features, joined = (root / name for name in ("log", "samples", "features", "training_set"))
    simulate(MarketplaceConfig(markets=("TH", "VN"), drift=drift), AS_OF, log)
    scores, encodings = write_stand_ins(log, root)
    _write_pairs(encodings, scores)
    build_samples(log, scores, encodings, SamplesConfig(unexposed_per_exposed=0, negatives_per_click=1), AS_OF, samples)
    _keep_native(samples / "samples.parquet")
    build_feature_tables(log, scores, FeaturesConfig(), AS_OF, features)
    join_training_set(features, log, samples, FeaturesConfig(), joined)
    rows = read_training_rows(joined / TRAINING_SET, _RANKED).table(_RANKED).to_pandas()
    search_drift(log, joined, encodings, write_ranker(rows, root / "ranker"), MonitoringConfig(), root / "drift")
    return read(root / "drift")


def _write_pairs(encodings: Path, scores: Path) -> None:
    """Pair vectors of the stand-in encodings: the title's beside the query's."""
    pairs = pq.read_table(scores / "scores.parquet", columns=["market", "query", "item_id"]).to_pandas()
    titles = pq.read_table(encodings / "title_vectors.parquet").to_pandas().set_index("item_id")["vector"]
    queries = pq.read_table(encodings / "query_vectors.parquet").to_pandas().set_index(["market", "query"])["vector"]
    keys = list(zip(pairs["market"], pairs["query"], strict=True))
    both = [np.stack(titles.loc[pairs["item_id"]].to_list()), np.stack(queries.loc[keys].to_list())]
    write_table(pa.Table.from_pandas(pairs, preserve_index=False), encodings / "pairs.parquet")
    np.save(encodings / "stand-in.npy", np.concatenate(both, axis=1))
    write_manifest(encodings, "encodings", {"experts": [{"name": "stand-in"}]}, {})


def _keep_native(path: Path) -> None:
    """Only exposed search rows, and the first row, which says when training began: the join is the slow part."""
    table = pq.read_table(path)
    first = pc.equal(table["timestamp"], pc.min(table["timestamp"]))
    native = pc.and_(pc.equal(table["domain"], "search"), pc.equal(table["exposed"], 1))
    write_table(table.filter(pc.or_(first, native)), path)


def test_a_world_that_does_not_move_does_not_drift(tmp_path: Path) -> None:
    found = _drift(tmp_path, drift=0.0)
    assert not found["drifted"], [f for f in found["findings"] if f["severity"] == "critical"]
    assert min(v["tested"] for v in found["markets"].values()) >= 16


def test_a_world_that_moves_drifts(tmp_path: Path) -> None:
    found = _drift(tmp_path, drift=1.0)
    assert found["markets"]["TH"]["because"] and found["markets"]["VN"]["because"]
