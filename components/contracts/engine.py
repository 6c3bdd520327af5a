"""The engine that tables are made on: DuckDB on disk, or Spark. Ibis expressions are the same on both.

Tables are scanned from Parquet, and steps between are kept as Parquet in a scratch folder: neither engine holds a log
in memory, and nothing of a log's size passes through Python.
"""

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import ibis
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, field_validator, model_validator

from components.contracts.config import StageConfig
from components.contracts.errors import BadInput
from components.contracts.quantities import ObjectName
from components.contracts.schemas import TableSchema
from components.contracts.tables import Limits, read_shards, write_tables

ROWS_A_BATCH = 131_072


class SparkApplicationConfig(StageConfig):
    """A SparkApplication of the Spark operator, which a step makes, waits for and removes.

    Attributes:
        image: that holds PySpark and Java, best by digest: target data-spark of components/Dockerfile.
        folder: pvc://<claim>/<path> on a claim that many pods mount, where inputs, steps between and result lie.
        account: the driver's service account, which makes executors (manifests/spark).
        executors: their number.
        cores: of the driver and of each executor; `memory` is what each of their JVMs gets.
    """

    image: str = Field(min_length=1)
    folder: str
    account: ObjectName = "archipelago-spark"
    executors: int = Field(default=2, ge=1)
    cores: int = Field(default=2, ge=1)

    @field_validator("folder")
    @classmethod
    def _all_pods_see_it(cls, folder: str) -> str:
        if not folder.startswith("pvc://"):
            raise ValueError(f"{folder!r}: driver and executors share a claim: pvc://<claim>/<path>")
        return folder


class EngineConfig(StageConfig):
    """The part of a stage's configuration that says where its tables are made.

    Attributes:
        engine: "duckdb", this machine alone; "spark", the session that `spark-submit` started, or a local one.
        memory: most that DuckDB holds before it spills, or what a local Spark's JVM gets, or each of an
            application's (as `2GB`).
        threads: of DuckDB or of a local Spark; 0 takes every core.
        spill: folder for what does not fit and for steps between, on fast disk; by default the system's. On a cluster
            it must be one that every worker sees.
        spark_application: with engine spark, a Spark of many pods, instead of this machine's.
    """

    engine: Literal["duckdb", "spark"] = "duckdb"
    memory: str = Field(default="2GB", pattern=r"^[1-9]\d*[MG]B$")
    threads: int = Field(default=0, ge=0)
    spill: str | None = None
    spark_application: SparkApplicationConfig | None = None

    @model_validator(mode="after")
    def _an_application_is_sparks(self) -> Self:
        if self.spark_application and self.engine != "spark":
            raise ValueError(f"spark_application with engine {self.engine}: it wants engine: spark")
        return self


@dataclass(frozen=True)
class Engine:
    """An open engine.

    Attributes:
        connection: the Ibis backend.
        scratch: where steps between lie, gone when the engine closes.
    """

    connection: Any
    scratch: Path

    def scan(self, path: Path) -> ibis.Table:
        """A Parquet file, or a folder of them, read when it is asked."""
        files = path if path.is_file() or self.connection.name == "pyspark" else path / "*.parquet"
        return self.connection.read_parquet(str(files))

    def checked(self, path: Path, schema: TableSchema, limits: Limits) -> ibis.Table:
        """The same in a contract's columns and types; its values are checked first, a part at a time.

        Raises:
            BadInput: no such Parquet file, or one that breaks a rule of the schema, its key included.
        """
        if path.suffix != ".parquet":
            raise BadInput(f"{path}: expected Parquet, which `archipelago ingest` writes")
        for _ in read_shards(path, schema, limits, ROWS_A_BATCH):
            pass
        table = self.scan(path)
        table = table.select(**{n: table[n].cast(ibis.dtype(c.type)) for n, c in schema.columns.items()})
        groups = table.group_by(list(schema.key)).aggregate(n=table.count())
        repeated = (groups.n - 1).sum().execute()
        if repeated:
            raise BadInput(f"{path}: column {' + '.join(schema.key)}: duplicate ids in {repeated} rows")
        return table

    def load(self, name: str, rows: pa.Table | Iterable[pa.Table]) -> ibis.Table:
        """A table of Python's, whole or in parts (one at least), put where the engine scans it."""
        path = self._place(name)
        write_tables([rows] if isinstance(rows, pa.Table) else rows, path)
        return self.scan(path)

    def keep(self, name: str, table: ibis.Table) -> ibis.Table:
        """The rows of an expression, computed once."""
        path = self._place(name)
        self.connection.to_parquet(table, str(path))
        # Engines widen whole numbers each in its own way; what Ibis says of an expression holds for its rows.
        return self.scan(path).cast(table.schema())

    def batches(self, name: str, table: ibis.Table) -> Iterator[pa.Table]:
        """The rows of an expression in its order, some at a time, for what Python makes of them; one part at least."""
        schema = self.keep(name, table).schema().to_pyarrow()
        kept = self.scratch / f"{name}.parquet"
        files = [pq.ParquetFile(path) for path in ([kept] if kept.is_file() else sorted(kept.glob("*.parquet")))]
        if not sum(file.metadata.num_rows for file in files):
            yield schema.empty_table()
        for file in files:
            for batch in file.iter_batches(ROWS_A_BATCH):
                # Spark's own note of the schema would outlast a change of columns.
                yield pa.Table.from_batches([batch]).replace_schema_metadata(None).cast(schema)

    def _place(self, name: str) -> Path:
        path = self.scratch / f"{name}.parquet"
        if path.exists():
            raise RuntimeError(f"{name} is kept twice")
        return path


@contextmanager
def open_engine(config: EngineConfig) -> Iterator[Engine]:
    """The engine a stage's configuration asks for; days are UTC days, wherever it runs.

    Raises:
        BadInput: Spark is asked for and PySpark or Java is missing, or there is no folder to spill to.
    """
    if config.spill is not None and not Path(config.spill).is_dir():
        raise BadInput(f"spill: {config.spill}: no such directory")
    open_backend = _spark if config.engine == "spark" else _duckdb
    with tempfile.TemporaryDirectory(prefix="engine-", dir=config.spill) as folder:
        scratch = Path(folder)
        with open_backend(config, scratch) as connection:
            yield Engine(connection, scratch)


@contextmanager
def _duckdb(config: EngineConfig, scratch: Path) -> Iterator[Any]:
    settings: dict[str, Any] = {"memory_limit": config.memory, "temp_directory": str(scratch / "spill")}
    if config.threads:
        settings["threads"] = config.threads
    connection = ibis.duckdb.connect(**settings, preserve_insertion_order=False)
    try:
        connection.raw_sql("SET TimeZone = 'UTC'")
        yield connection
    finally:
        connection.disconnect()


@contextmanager
def _spark(config: EngineConfig, scratch: Path) -> Iterator[Any]:
    """The session of `spark-submit`, which states master, memory and cores, or a local one that ends here."""
    try:
        from pyspark.errors import PySparkRuntimeError
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise BadInput("engine spark: PySpark is not installed (pip install 'archipelago-search[spark]')") from error
    # How spark-submit hands its session on; PySpark's own configuration is empty until one is open.
    submitted = "PYSPARK_GATEWAY_PORT" in os.environ
    settings = {} if submitted else _local_spark(config, scratch)
    builder = SparkSession.builder.appName("archipelago").config(map=settings)
    try:
        session = builder.config("spark.sql.session.timeZone", "UTC").getOrCreate()
    except PySparkRuntimeError as error:
        raise BadInput(f"engine spark: {str(error).splitlines()[0]} (is Java 17 or 21 installed?)") from error
    # Not the INT96 of old, which others read as nanoseconds.
    connection = ibis.pyspark.connect(session, **{"spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS"})
    try:
        yield connection
    finally:
        if not submitted:
            session.stop()


def _local_spark(config: EngineConfig, scratch: Path) -> dict[str, str]:
    cores = config.threads or os.cpu_count() or 1
    return {
        "spark.master": f"local[{cores}]",
        "spark.driver.memory": config.memory.removesuffix("B").lower(),
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.shuffle.partitions": str(cores),
        "spark.sql.catalogImplementation": "in-memory",
        "spark.local.dir": str(scratch),
    }
