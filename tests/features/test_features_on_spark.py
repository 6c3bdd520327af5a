"""Feature tables, and samples joined with them, made on a local Spark are those that DuckDB makes."""

from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from components.contracts.features import VIEWS
from components.contracts.training_set import ALL_COLUMNS, TRAINING_SET, read_training_rows
from components.features import join
from components.features.config import FeaturesConfig
from components.features.join import join_training_set
from components.features.tables import REPORT, build_feature_tables
from tests.features.sample_rows import write_samples
from tests.features.toy_log import AS_OF, write_toy_log
from tests.spark import needs_spark


def on(engine: str) -> FeaturesConfig:
    return FeaturesConfig.model_validate({"engine": engine, "memory": "1GB", "threads": 2})


@needs_spark
@pytest.mark.slow
def test_every_view_equals_duckdb_s(tmp_path: Path) -> None:
    log, scores = write_toy_log(tmp_path)
    for engine in ("duckdb", "spark"):
        build_feature_tables(log, scores, on(engine), AS_OF, tmp_path / engine)
    for view in VIEWS:
        duckdb, spark = (pq.read_table(tmp_path / engine / f"{view}.parquet") for engine in ("duckdb", "spark"))
        assert duckdb.num_rows
        assert spark.schema == duckdb.schema
        for name in duckdb.column_names:
            if name == "price_log":  # ln of two libraries
                difference = spark[name].to_numpy() - duckdb[name].to_numpy()
                assert abs(difference).max() < 1e-6
            else:  # NaN is NaN, which Arrow denies
                ours, theirs = (table[name].to_pandas() for table in (duckdb, spark))
                pd.testing.assert_series_equal(theirs, ours, check_exact=True, obj=f"{view}.{name}")
    assert (tmp_path / "spark" / REPORT).is_file()


@needs_spark
@pytest.mark.slow
def test_joined_rows_equal_duckdb_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(join, "_CANDIDATES_A_SHARD", 400)
    log, scores = write_toy_log(tmp_path)
    build_feature_tables(log, scores, on("duckdb"), AS_OF, tmp_path / "features")
    samples = write_samples(tmp_path / "samples", log)
    for engine in ("duckdb", "spark"):
        join_training_set(tmp_path / "features", log, tmp_path / "samples", on(engine), tmp_path / engine)
    duckdb, spark = (read_training_rows(tmp_path / engine / TRAINING_SET) for engine in ("duckdb", "spark"))
    assert len(duckdb.request) == len(samples)
    frames = [rows.table(ALL_COLUMNS).to_pandas() for rows in (spark, duckdb)]
    pd.testing.assert_frame_equal(*frames, check_exact=True)
    files = [pq.ParquetFile(tmp_path / engine / TRAINING_SET) for engine in ("duckdb", "spark")]
    assert files[0].num_row_groups == files[1].num_row_groups > 1
    assert files[0].schema_arrow == files[1].schema_arrow
