"""The point-in-time join: features of (user, item, query, time) rows as they were known at that time, through Feast."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from components.contracts import schemas
from components.contracts.errors import BadInput
from components.contracts.features import FEATURES
from components.contracts.markets import DOMAIN_CODES, market_codes
from components.contracts.tables import Limits, read_table, write_table
from components.contracts.text import query_key
from components.contracts.tools.distinct import map_distinct
from components.contracts.tools.manifest import input_digest, read_manifest, stage_directory, write_manifest

KIND = "training_set"
_ROW_COLUMNS = ("user_id", "item_id", "market", "query", "domain", "timestamp")


def join_training_set(features: Path, log: Path, samples: Path, out: Path) -> None:
    """Write `out`/training_set.parquet: every sample in its order, with every feature and user_known beside it.

    Raises:
        BadInput: an input is missing or breaks its schema.
    """
    manifest = read_manifest(log)
    markets = manifest["markets"]
    table = read_table(samples / "samples.parquet", schemas.SAMPLES, Limits(markets))
    columns = _feature_columns(features, table.select(_ROW_COLUMNS).to_pandas(), markets)
    for name in columns.column_names:
        table = table.append_column(name, columns[name])
    with stage_directory(out) as root:
        write_table(table, root / "training_set.parquet")
        write_manifest(
            root,
            KIND,
            config={},
            inputs={
                name: input_digest(path) for name, path in (("features", features), ("log", log), ("samples", samples))
            },
            metrics={"rows": table.num_rows, "known_users": pc.mean(table["user_known"]).as_py()},
            packages=["feast", "duckdb"],
            markets=markets,
            simulated=bool(manifest.get("simulated", False)),
        )


def join_rows(features: Path, rows: pd.DataFrame, markets: Sequence[str]) -> pd.DataFrame:
    """The rows, in their order and with their index, with every feature as known at `timestamp`, and user_known.

    Args:
        features: a folder of feature tables, all rows or a release's latest slice.
        rows: user_id, item_id, market, query, domain, timestamp (naive times are UTC); further columns are kept.
        markets: the profile's markets, in order.

    An unknown user, item or query has NaN (None in sequence columns), which `contracts.features.assemble` fills.

    Raises:
        BadInput: no rows, a missing column, or an unknown market or domain.
    """
    missing = [name for name in _ROW_COLUMNS if name not in rows.columns]
    if missing:
        raise BadInput(f"rows to join: missing column {', '.join(missing)} in {len(rows)} rows")
    if rows.empty:
        raise BadInput("rows to join: 0 rows")
    columns = _feature_columns(features, rows, markets).to_pandas()
    return rows.assign(**{name: columns[name].to_numpy() for name in columns.columns})


def _feature_columns(features: Path, rows: pd.DataFrame, markets: Sequence[str]) -> pa.Table:
    """One column per feature in contract order, and user_known; row i belongs to rows.iloc[i]."""
    entities = pd.DataFrame(
        {
            "user_id": rows["user_id"].to_numpy(),
            "item_id": rows["item_id"].to_numpy(),
            "query_key": _query_keys(rows),
            "event_timestamp": pd.to_datetime(rows["timestamp"], utc=True).to_numpy("datetime64[us]"),
        }
    )
    entities["event_timestamp"] = entities["event_timestamp"].dt.tz_localize("UTC")
    stored = _historical_features(features, entities)
    columns = {
        "market_code": _codes(rows["market"], market_codes(markets)),
        "domain_code": _codes(rows["domain"], DOMAIN_CODES),
    } | {name: stored[name] for name in stored.column_names}
    known = stored["user_bucket"].is_valid()
    return pa.table({feature.name: columns[feature.name] for feature in FEATURES} | {"user_known": known})


def _historical_features(features: Path, entities: pd.DataFrame) -> pa.Table:
    """Stored features of n entity rows, in order.

    Two calls, as online: what belongs to the request is joined once per request, not once per candidate, because Feast
    joins every earlier row of a key with every entity row before it keeps the newest.
    """
    from feature_repo.definitions import CANDIDATE_VIEWS, REQUEST_VIEWS, service_references
    from feature_repo.store import offline_session, open_store

    request_keys = ["user_id", "query_key", "event_timestamp"]
    request_of_row = entities.groupby(request_keys, sort=False).ngroup().to_numpy()
    requests = entities[request_keys].drop_duplicates()
    with tempfile.TemporaryDirectory() as folder, offline_session():
        store = open_store(features, Path(folder) / "registry.db", Path(folder) / "online.db")

        def call(rows: pd.DataFrame, views: tuple[str, ...]) -> pa.Table:
            references = service_references(store, views)
            numbered = rows.assign(row=np.arange(len(rows)))
            answer = store.get_historical_features(numbered, references).to_arrow()
            answer = answer.take(pc.sort_indices(answer["row"]))  # Feast does not keep the order of rows
            if not np.array_equal(answer["row"].to_numpy(), np.arange(len(rows))):
                raise RuntimeError(f"point-in-time join returned {answer.num_rows} rows for {len(rows)}")
            return answer.select([reference.split(":")[1] for reference in references])

        of_request = call(requests, REQUEST_VIEWS).take(pa.array(request_of_row))
        of_candidate = call(entities.drop(columns="user_id"), CANDIDATE_VIEWS)
    for name in of_candidate.column_names:
        of_request = of_request.append_column(name, of_candidate[name])
    return of_request


def _query_keys(rows: pd.DataFrame) -> np.ndarray:
    """query_key of each row."""
    pairs = zip(rows["market"], rows["query"].fillna(""), strict=True)
    return np.array(map_distinct(lambda pair: query_key(*pair), pairs), dtype=object)


def _codes(names: pd.Series, codes: dict[str, int]) -> pa.Array:
    found = names.map(codes)
    if found.isna().any():
        wrong = names[found.isna()]
        where = f"rows to join: column {names.name}: {wrong.iloc[0]!r} in {len(wrong)} of {len(names)} rows"
        raise BadInput(f"{where} is not one of {', '.join(codes)}")
    return pa.array(found.to_numpy(np.int64))
