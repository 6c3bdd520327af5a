"""Feast's own point-in-time join over the project's definitions: what ours is held to."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from components.contracts.features import FEATURE_SERVICE, VIEWS
from components.contracts.text import query_key
from feature_repo.feast_api import FeatureStore
from feature_repo.store import offline_session, open_store

_OF_ITEM = frozenset({"category", "brand"})


def service_references(store: FeatureStore, views: Sequence[str] = tuple(VIEWS)) -> list[str]:
    """What the model version's feature service reads of some views, in Feast's notation: ``view:feature``."""
    service = store.get_feature_service(FEATURE_SERVICE)
    projections = [p for p in service.feature_view_projections if p.name in views]
    return [f"{p.name}:{f.name}" for p in projections for f in p.features]


def feast_features(
    features: Path, rows: pd.DataFrame, views: Sequence[str] = tuple(VIEWS), known: frozenset[str] = frozenset()
) -> pa.Table:
    """Stored features of n rows as `get_historical_features` gives them, in order: a column per feature.

    Args:
        features: a folder of feature tables.
        rows: market, query, timestamp, and the views' keys beside, but those that an item's profile has.
        views: those that are asked.
        known: keys of items that rows have all the same.
    """
    if any((_OF_ITEM - known) & set(VIEWS[view]) for view in views):  # as far as it was known at that time
        profile = feast_features(features, rows, ["item_profile"])
        keyed = rows.assign(**{key: profile[key].to_pandas().to_numpy() for key in _OF_ITEM})
        others = feast_features(features, keyed, [view for view in views if view != "item_profile"], known=_OF_ITEM)
        return pa.table({name: table[name] for table in (profile, others) for name in table.column_names})
    keys = sorted({key for view in views for key in VIEWS[view]} - {"query_key"})
    entities = pd.DataFrame({key: rows[key].to_numpy() for key in keys})
    texts = zip(rows["market"], rows["query"], strict=True)
    entities["query_key"] = [None if query is None else query_key(market, query) for market, query in texts]
    entities["event_timestamp"] = pd.to_datetime(rows["timestamp"], utc=True).to_numpy("datetime64[us]")
    entities["event_timestamp"] = entities["event_timestamp"].dt.tz_localize("UTC")
    entities["row"] = np.arange(len(entities))
    with tempfile.TemporaryDirectory() as folder, offline_session():
        store = open_store(features, Path(folder) / "registry.db", Path(folder) / "online.db")
        references = service_references(store, views)
        answer = store.get_historical_features(entities, references).to_arrow()
    answer = answer.take(pc.sort_indices(answer["row"]))  # Feast does not keep the order of rows
    assert answer["row"].to_pylist() == list(range(len(rows)))
    return answer.select([reference.split(":")[1] for reference in references])
