"""Feature tables made on a local Spark are those that DuckDB makes."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from components.contracts.features import VIEWS
from components.features.config import FeaturesConfig
from components.features.tables import REPORT, build_feature_tables
from tests.features.toy_log import AS_OF, write_toy_log
from tests.spark import needs_spark


@needs_spark
@pytest.mark.slow
def test_every_view_equals_duckdb_s(tmp_path: Path) -> None:
    log, scores = write_toy_log(tmp_path)
    for engine in ("duckdb", "spark"):
        config = FeaturesConfig(engine=engine, memory="1GB", threads=2)
        build_feature_tables(log, scores, config, AS_OF, tmp_path / engine)
    for view in VIEWS:
        duckdb, spark = (pq.read_table(tmp_path / engine / f"{view}.parquet") for engine in ("duckdb", "spark"))
        assert duckdb.num_rows
        assert spark.schema == duckdb.schema
        for name in duckdb.column_names:
            if name == "price_log":  # ln of two libraries
                difference = spark[name].to_numpy() - duckdb[name].to_numpy()
                assert abs(difference).max() < 1e-6
            else:
                assert spark[name].combine_chunks().equals(duckdb[name].combine_chunks()), (view, name)
    assert (tmp_path / "spark" / REPORT).is_file()
