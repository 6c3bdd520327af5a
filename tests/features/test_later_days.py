"""What a later day's log does to what was made before: nothing. And a run that is repeated changes no byte."""

from datetime import timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from components.contracts.features import VIEWS
from components.contracts.tables import write_table
from components.contracts.tools.manifest import read_manifest, write_manifest
from components.contracts.training_set import ALL_COLUMNS, TRAINING_SET, read_training_rows
from components.features.config import FeaturesConfig
from components.features.join import join_training_set
from components.features.tables import build_feature_tables
from tests.features.sample_rows import write_samples
from tests.features.toy_log import AS_OF, write_toy_log

EARLIER = AS_OF - timedelta(days=3)
CONFIG = FeaturesConfig(threads=2)


def write_earlier(log: Path, out: Path) -> Path:
    """The log as it was then."""
    tables = {path.stem: pq.read_table(path) for path in log.glob("*.parquet")}
    for name in ("requests", "events"):
        times = tables[name]["timestamp"]
        tables[name] = tables[name].filter(pc.less_equal(times, pa.scalar(EARLIER, times.type)))
    known = tables["requests"]["request_id"].combine_chunks()
    tables["candidates"] = tables["candidates"].filter(pc.is_in(tables["candidates"]["request_id"], known))
    for name, table in tables.items():
        write_table(table, out / f"{name}.parquet")
    markets = read_manifest(log)["markets"]
    write_manifest(out, "log", {}, {}, simulated=True, markets=markets, as_of=EARLIER.isoformat())
    return out


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`earlier`, `later` and `again`: features of one log at two times, each with the samples of the first joined."""
    root = tmp_path_factory.mktemp("days")
    log, scores = write_toy_log(root)
    earlier = write_earlier(log, root / "earlier_log")
    write_samples(root / "samples", earlier)
    for name, own, as_of in (("earlier", earlier, EARLIER), ("later", log, AS_OF), ("again", log, AS_OF)):
        build_feature_tables(own, scores, CONFIG, as_of, root / name / "features")
        join_training_set(root / name / "features", own, root / "samples", CONFIG, root / name / "training_set")
    return root


@pytest.mark.parametrize("view", VIEWS)
def test_a_later_day_adds_rows_to_a_view_and_changes_none(runs: Path, view: str) -> None:
    earlier, later = (pq.read_table(runs / name / "features" / f"{view}.parquet") for name in ("earlier", "later"))
    times = later["event_timestamp"]
    before = later.filter(pc.less_equal(times, pa.scalar(EARLIER, times.type)))
    pd.testing.assert_frame_equal(before.to_pandas(), earlier.to_pandas())
    if view.endswith(("stats", "sequences")):
        assert later.num_rows > earlier.num_rows


def test_a_later_day_changes_no_earlier_sample_s_features(runs: Path) -> None:
    earlier, later = (read_training_rows(runs / name / "training_set" / TRAINING_SET) for name in ("earlier", "later"))
    pd.testing.assert_frame_equal(later.table(ALL_COLUMNS).to_pandas(), earlier.table(ALL_COLUMNS).to_pandas())
    assert (runs / "later" / "training_set" / TRAINING_SET).read_bytes() == (
        runs / "earlier" / "training_set" / TRAINING_SET
    ).read_bytes()


def test_a_run_that_is_repeated_changes_no_byte(runs: Path) -> None:
    files = {path.relative_to(runs / "later") for path in (runs / "later").rglob("*.parquet")}
    assert len(files) == len(VIEWS) + 1
    for path in files:
        assert (runs / "later" / path).read_bytes() == (runs / "again" / path).read_bytes(), path
