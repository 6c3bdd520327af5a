"""Filling an online store: definitions, rows, and last the instant as of which they hold.

A store that servers share is filled by each server when it starts, and again by whoever keeps its features fresh.
Feast's Redis keeps the newest row of a key: neither undoes what the other wrote, nor what users clicked meanwhile.
"""

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from components.contracts.schemas import TIMESTAMP
from feature_repo.definitions import FRESHNESS, FRESHNESS_KEY, FRESHNESS_OF, TIMESTAMP_FIELD, online_objects
from feature_repo.feast_api import FeatureStore, FeatureView
from feature_repo.packed import pack

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def project_of(release: str) -> str:
    """The namespace of a release's keys, in a store that releases share."""
    return f"archipelago_{release}"


def fill(store: FeatureStore, tables: Path, folder: Path, as_of: datetime) -> None:
    """Materialise feature tables, and then note `as_of`: a store that says so holds all of them.

    Args:
        store: any store; its definitions become the current ones.
        tables: folder with a Parquet file per view.
        folder: a place for files that are made here, which the definitions name.
        as_of: no row is later.
    """
    pack(tables, folder)
    noted = {FRESHNESS_KEY: [FRESHNESS_OF], "as_of": [int(as_of.timestamp())]}
    noted = pa.table(noted | {TIMESTAMP_FIELD: pa.array([as_of], TIMESTAMP)})
    pq.write_table(noted, folder / f"{FRESHNESS}.parquet")
    objects = online_objects(tables, folder)
    store.apply(objects)
    views = [x.name for x in objects if isinstance(x, FeatureView)]
    store.materialize(_EPOCH, as_of, [view for view in views if view != FRESHNESS])
    store.materialize(_EPOCH, as_of, [FRESHNESS])


def fresh_as_of(store: FeatureStore) -> datetime | None:
    """The instant as of which a store's features hold; None where nothing was ever put there."""
    found = store.get_online_features([f"{FRESHNESS}:as_of"], [{FRESHNESS_KEY: FRESHNESS_OF}]).to_dict()["as_of"][0]
    return None if found is None else datetime.fromtimestamp(found, UTC)
