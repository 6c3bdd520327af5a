"""The stage on a local Spark makes the same rows and figures as on DuckDB."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from components.samples.build import build_samples
from components.samples.config import SamplesConfig
from tests.samples.hand_log import AS_OF, DAYS
from tests.samples.test_against_plain_python import random_log
from tests.spark import needs_spark


@needs_spark
@pytest.mark.slow
def test_rows_and_figures_equal_duckdb_s(tmp_path: Path) -> None:
    paths = random_log(3).write(tmp_path)
    for engine in ("duckdb", "spark"):
        config = SamplesConfig(**DAYS, engine=engine, memory="1GB", threads=2)
        build_samples(*paths, config, AS_OF, tmp_path / engine)
    duckdb, spark = (pq.read_table(tmp_path / engine / "samples.parquet") for engine in ("duckdb", "spark"))
    assert duckdb.num_rows > 50
    assert set(duckdb["label_source"].to_pylist()) >= {"native", "attributed", "searchified", "searchified_negative"}
    assert spark.schema == duckdb.schema
    assert spark.equals(duckdb)
    volumes = [json.loads((tmp_path / engine / "volumes.json").read_text()) for engine in ("duckdb", "spark")]
    assert volumes[0] == volumes[1]
