"""Feast definitions: entities, one feature view per table, and the feature service of the current model version.

- One list of features, `components.contracts.features`, makes them all: offline and online cannot differ.
- A row holds from its time until the key's next row: views have no time to live.
- The feature service bears the model's version in its name.
- A server's store also holds the instant as of which its features hold, under one key.
- What users click and buy is pushed into their sequences as it happens; counts change at midnight only, as in training.
"""

from datetime import timedelta
from pathlib import Path

from components.contracts.features import FEATURE_SERVICE, VIEWS, Fact, Feature, stored_features
from feature_repo import packed
from feature_repo.feast_api import (
    Array,
    Entity,
    FeastType,
    FeatureService,
    FeatureView,
    Field,
    FileSource,
    Float32,
    Int64,
    PushSource,
    String,
    ValueType,
)

TIMESTAMP_FIELD = "event_timestamp"

# The view of the instant as of which a store's features hold, its key, and the key's one value.
FRESHNESS, FRESHNESS_KEY, FRESHNESS_OF = "freshness", "store", "features"

# The view whose rows are pushed between two releases, and the source that takes them.
PUSHED_VIEW = "user_sequences"
PUSH_SOURCE = "user_sequences_pushed"

_ENTITIES = {
    key: Entity(name=name, join_keys=[key], value_type=ValueType.STRING)
    for key, name in {
        "user_id": "user", "item_id": "item", "query_key": "query", "category": "category", "brand": "brand",
    }.items()
}  # fmt: skip
_TYPES: dict[str, FeastType] = {
    "numeric": Float32,
    "categorical": Int64,
    "sequence": Array(Int64),
    "time": Int64,
    "text": String,
}


def feature_objects(tables: Path) -> list[Entity | FeatureView | FeatureService]:
    """Everything to apply: entities, views over the Parquet files `tables`/<view>.parquet, and the feature service.

    A view's rows hold until the key's next row (no time to live): tables state when a value ends, with zeros.
    """
    return _objects([_table_view(view, tables) for view in VIEWS])


def online_objects(tables: Path, made: Path) -> list[Entity | FeatureView | FeatureService]:
    """The same for a server's store: pairs packed by request key, and how fresh it is.

    Args:
        tables: folder of the feature tables.
        made: folder of the files that `online` makes.
    """
    packed_views = [
        FeatureView(
            name=name,
            entities=[_ENTITIES[key]],
            schema=[_packed_field(column) for column in packed.columns(key)],
            source=_source(name, made),
            ttl=timedelta(0),
        )
        for key, name in packed.NAMES.items()
    ]
    store = Entity(name=FRESHNESS_KEY, join_keys=[FRESHNESS_KEY], value_type=ValueType.STRING)
    freshness = FeatureView(
        name=FRESHNESS,
        entities=[store],
        schema=[Field(name="as_of", dtype=Int64)],
        source=_source(FRESHNESS, made),
        ttl=timedelta(0),
    )
    views = [*(_table_view(view, tables) for view in VIEWS if view not in packed.PACKED), *packed_views]
    return [*_objects(views), store, freshness]


def _objects(views: list[FeatureView]) -> list[Entity | FeatureView | FeatureService]:
    return [*_ENTITIES.values(), *views, FeatureService(name=FEATURE_SERVICE, features=views)]


def _table_view(view: str, tables: Path) -> FeatureView:
    return FeatureView(
        name=view,
        entities=[_ENTITIES[key] for key in VIEWS[view]],
        schema=[_field(feature) for feature in stored_features(view)],
        source=_source(view, tables),
        ttl=timedelta(0),
    )


def _source(view: str, tables: Path) -> FileSource | PushSource:
    file = FileSource(name=view, path=str(tables.resolve() / f"{view}.parquet"), timestamp_field=TIMESTAMP_FIELD)
    return PushSource(name=PUSH_SOURCE, batch_source=file) if view == PUSHED_VIEW else file


def _field(feature: Feature | Fact) -> Field:
    return Field(name=feature.name, dtype=_TYPES[feature.kind])


def _packed_field(column: packed.Column) -> Field:
    return Field(name=column.name, dtype=Array(String if column.feature is None else Float32))
