"""The training set: samples with their features as they were known at their time.

Requests are joined with what belongs to them once, candidates with the rest. Requests in the order of time are cut into
shards, so that neither the engine nor Python holds more than one of them, and the feature tables' rows of its days.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import ibis
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from components.contracts import schemas
from components.contracts.engine import Engine, EngineConfig, open_engine
from components.contracts.errors import BadInput
from components.contracts.features import CANDIDATE_VIEWS, FEATURES, REQUEST_VIEWS, VIEWS, Feature
from components.contracts.request_time import complete
from components.contracts.tables import Limits
from components.contracts.text import query_key
from components.contracts.tools.manifest import input_digest, read_manifest, stage_directory, write_manifest
from components.contracts.training_set import (
    CANDIDATE_COLUMNS,
    ITEM_KNOWN,
    REQUEST_COLUMNS,
    REQUEST_ROWS,
    TRAINING_SET,
    USER_KNOWN,
    read_training_rows,
    stated_features,
    write_training_set,
)
from components.features.config import FeaturesConfig
from components.features.point_in_time import between, open_intervals, with_features

KIND = "training_set"
_ROW_COLUMNS = ("user_id", "item_id", "market", "query", "domain", "timestamp")
_CANDIDATES_A_SHARD = 500_000
_MICRO = 1_000_000


def join_training_set(features: Path, log: Path, samples: Path, config: FeaturesConfig, out: Path) -> None:
    """Write `out`/training_set.parquet (contracts/training_set.py): parts by time, and by user in each.

    Raises:
        BadInput: an input is missing or breaks its schema.
    """
    manifest = read_manifest(log)
    markets = manifest["markets"]
    with stage_directory(out) as root, open_engine(config) as engine:
        rows = engine.checked(samples / "samples.parquet", schemas.SAMPLES, Limits(markets))
        written = root / TRAINING_SET
        requests = write_training_set(_shards(engine, features, rows), written)
        known = read_training_rows(written, [USER_KNOWN]).column(USER_KNOWN)
        write_manifest(
            root,
            KIND,
            config=config.model_dump(mode="json"),
            inputs={
                name: input_digest(path) for name, path in (("features", features), ("log", log), ("samples", samples))
            },
            metrics={"requests": requests, "rows": len(known), "known_users": pc.mean(known).as_py()},
            packages=["duckdb", "ibis-framework", "pyspark"],
            markets=markets,
            simulated=bool(manifest.get("simulated", False)),
        )


def join_rows(features: Path, rows: pd.DataFrame, markets: Sequence[str]) -> pd.DataFrame:
    """The rows, in their order and with their index, with every feature as known at `timestamp`, and user_known.

    Args:
        features: a folder of feature tables, all rows or a release's latest slice.
        rows: user_id, item_id, market, query, domain, timestamp (naive times are UTC); further columns are kept.
        markets: the profile's markets, in order.

    An unknown user, item or query has what the contract says stands for unknown, and empty sequences.

    Raises:
        BadInput: no rows, a missing column, or an unknown market or domain.
    """
    missing = [name for name in _ROW_COLUMNS if name not in rows.columns]
    if missing:
        raise BadInput(f"rows to join: missing column {', '.join(missing)} in {len(rows)} rows")
    if rows.empty:
        raise BadInput("rows to join: 0 rows")
    stored, stated = stored_columns(features, rows, markets)
    columns = {name: _values(column) for name, column in zip(stored.column_names, stored.columns, strict=True)}
    seconds = stored["timestamp"].cast(pa.int64()).to_numpy() // _MICRO
    completed = complete(columns | stated, seconds)
    known = {USER_KNOWN: stored["user_bucket"].is_valid().to_numpy()}
    made = pd.DataFrame({f.name: _column(completed[f.name], f) for f in FEATURES} | known, index=rows.index)
    return pd.concat([rows, made], axis=1)


def stored_columns(features: Path, rows: pd.DataFrame, markets: Sequence[str]) -> tuple[pa.Table, dict[str, pa.Array]]:
    """What feature tables knew of rows as `join_rows` takes them, in their order, and the codes that rows state.

    The table has the rows' own keys and `timestamp`, and every stored feature and fact, null where nothing is known.
    """
    times = pa.array(pd.to_datetime(rows["timestamp"], utc=True).to_numpy("datetime64[us]"))
    texts = {name: pa.array(rows[name], pa.string()) for name in _ROW_COLUMNS if name != "timestamp"}
    table = pa.table(texts | {"timestamp": times.cast(schemas.TIMESTAMP), "row": np.arange(len(rows))})
    stated = stated_features(table, markets, "rows to join")
    with open_engine(EngineConfig()) as engine:
        joined = _with_query_keys(engine, engine.load("rows", table))
        joined = with_features(joined, open_intervals(engine, features, tuple(VIEWS)))
        return joined.order_by("row").to_pyarrow(), stated


def _values(column: pa.ChunkedArray) -> Any:
    """A column as `contracts.request_time` takes it."""
    values = column.to_pandas()
    return list(values) if pa.types.is_list(column.type) else values.to_numpy()


def _column(values: np.ndarray, feature: Feature) -> Any:
    """A column as a data frame has it; of a sequence, the places that are filled."""
    if feature.kind == "sequence":
        return [row[row != 0] for row in values]
    floats = np.asarray(values, np.float64)
    return floats.astype(np.float32) if feature.kind == "numeric" else np.nan_to_num(floats).astype(np.int64)


def _shards(engine: Engine, features: Path, rows: ibis.Table) -> Iterator[tuple[pa.Table, pa.Table, np.ndarray]]:
    """Requests, their candidates and how many each has, some requests at a time."""
    requests = engine.keep("requests", _numbered(_with_query_keys(engine, _requests(rows))))
    views = open_intervals(engine, features, tuple(VIEWS))
    shards = requests.group_by("shard").aggregate(first=requests.timestamp.min(), last=requests.timestamp.max())
    for shard, first, last in (row.values() for row in shards.order_by("shard").to_pyarrow().to_pylist()):
        here = requests.filter(requests.shard == shard)
        candidates = _candidates(rows.filter(rows.timestamp.between(ibis.literal(first), ibis.literal(last))), here)
        here = with_features(here, {view: between(views[view], first, last) for view in REQUEST_VIEWS})
        candidates = with_features(candidates, {view: between(views[view], first, last) for view in CANDIDATE_VIEWS})
        here = here.mutate(**{USER_KNOWN: here.user_bucket.notnull()}).order_by("number")
        candidates = candidates.mutate(**{ITEM_KNOWN: candidates.item_bucket.notnull()}).order_by("number", "item_id")
        of_requests = _whole(engine, f"requests_{shard}", here.select("candidates", *REQUEST_COLUMNS))
        of_candidates = _whole(engine, f"candidates_{shard}", candidates.select(*CANDIDATE_COLUMNS))
        yield of_requests, of_candidates, of_requests["candidates"].to_numpy()


def _whole(engine: Engine, name: str, table: ibis.Table) -> pa.Table:
    return pa.concat_tables(engine.batches(name, table))


def _requests(rows: ibis.Table) -> ibis.Table:
    return rows.group_by(list(REQUEST_ROWS.columns)).aggregate(candidates=rows.count())


def _numbered(requests: ibis.Table) -> ibis.Table:
    """Requests with their shard, by time, and their `number` in the file: within a shard by user."""
    so_far = ibis.cumulative_window(order_by=["timestamp", "request_id", "query", "query_source"])
    requests = requests.mutate(shard=requests.candidates.sum().over(so_far) // _CANDIDATES_A_SHARD)
    in_order = ["shard", "user_id", "timestamp", "request_id", "query", "query_source"]
    return requests.mutate(number=ibis.row_number().over(ibis.window(order_by=in_order)))


def _candidates(rows: ibis.Table, requests: ibis.Table) -> ibis.Table:
    """Samples of some requests, with their number and keys."""
    keys = list(REQUEST_ROWS.columns)
    numbered = requests.select(*keys, "query_key", "number")
    return rows.inner_join(numbered, keys)


def _with_query_keys(engine: Engine, rows: ibis.Table) -> ibis.Table:
    """Rows with `query_key`: each distinct query's is made once, in Python."""
    texts = rows.filter(rows["query"].notnull()).select("market", "query").distinct().to_pyarrow()
    keys = [query_key(*pair) for pair in zip(*(texts[name].to_pylist() for name in texts.column_names), strict=True)]
    made = engine.load("query_keys", texts.append_column("query_key", pa.array(keys, pa.string())))
    joined = rows.left_join(made, ["market", "query"])
    return joined.select(*[rows[name] for name in rows.columns], query_key=made.query_key)
