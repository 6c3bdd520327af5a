"""The online store of a release: built from its feature tables, read at request time, both through Feast.

Choices (ours):

- A request's own rows (user, query) are read from the store each time, so that a push is seen by the next search.
- Pairs are one row per user and per query (`feature_repo.packed`); rows of items and categories are kept for a minute
  (`item_rows`).
- A request comes now, unless it says otherwise. A store that nobody refreshed for two days stands still: its requests
  come at the instant that its features hold, as ages would else grow to what the ranker never saw.
- Rows are read with Feast's provider: its `get_online_features` builds an object for every value.
- A store that releases share is namespaced by the release's name.
- A store is checked before it is trusted, when a server starts and whenever a read failed: an SQLite file by SQLite and
  by the rows of each table, any store by a row of each kind. One that has lost something is built anew.
- While a store cannot be read, searches are refused at once: nobody waits for it but the one who looks (`check`).
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from components.contracts.features import (
    FEATURES,
    ITEM_VIEWS,
    REQUEST_VIEWS,
    SEQUENCE_LENGTH,
    VIEWS,
    Fact,
    Feature,
    stored_features,
)
from components.contracts.markets import DOMAIN_CODES
from components.contracts.request_time import complete, epoch_seconds
from components.contracts.tools.lock import alone_in
from components.contracts.tools.log import get_logger
from components.contracts.tools.manifest import atomic_directory, read_json, read_manifest, write_json
from serving.transformer.item_rows import ItemRows
from serving.transformer.store_check import StoreUnavailable, known_keys, loss, row_counts, store_errors

if TYPE_CHECKING:
    from feast import FeatureStore

_FOLDER = "online_store"
_BUILT = "built.json"
_DATABASE = "online.db"
# Goes up with what a store holds beside the tables: one of an older layout is built anew.
_LAYOUT = 2
# Where a value lies in Feast's protobuf message.
_FIELDS = {
    "numeric": "float_val",
    "categorical": "int64_val",
    "sequence": "int64_list_val",
    "time": "int64_val",
    "text": "string_val",
}
_CATEGORY_VIEW = "category_stats"
_STANDS_STILL = timedelta(days=2)
_logger = get_logger(__name__)


def build_online_store(features: Path, state: Path, online: str | None = None, release: str | None = None) -> None:
    """Materialise feature tables into an online store; does nothing when `state` holds a store of the same tables.

    Args:
        features: folder of feature tables with a manifest (a release's latest slice).
        state: folder for the registry and the SQLite file, replaced as a whole; created if need be.
        online: address of another online store (`feature_repo.store.connect`), e.g. ``redis://host:6379``.
        release: name of the release, which namespaces the keys; the tables' digest stands in for it.

    Raises:
        BadInput: `features` has no manifest, or `online` is no address.
        StoreUnavailable: the store is locked, cannot be reached, or has no room.
    """
    from feature_repo.online import fill, project_of
    from feature_repo.store import connect, offline_session

    manifest = read_manifest(features)
    project = project_of(release or manifest["digest"][:12])
    wanted = {"digest": manifest["digest"], "online": online, "project": project, "layout": _LAYOUT}
    target = store_folder(state)
    state.mkdir(parents=True, exist_ok=True)
    with alone_in(state):  # of two servers that start together, one builds and the other finds it built
        if (target / _BUILT).is_file() and _is_whole(state, wanted):
            return
        with store_errors(), atomic_directory(target) as root, offline_session():
            store = connect(root / "registry.db", online or root / _DATABASE, project)
            fill(store, features, root, datetime.fromisoformat(manifest["as_of"]))
            rows = {} if online else row_counts(root / _DATABASE)
            write_json(root / _BUILT, wanted | {"rows": rows, "known": known_keys(features)})
    _logger.info("online store built in %s from features %s", target, manifest["digest"][:12])


def _is_whole(state: Path, wanted: Mapping[str, Any]) -> bool:
    built = read_json(store_folder(state) / _BUILT)
    if {name: built.get(name) for name in wanted} != wanted:
        return False  # of other tables
    lost = None if built["online"] else loss(store_folder(state) / _DATABASE, built["rows"])
    if lost is None:
        lost = OnlineFeatures(state).lost()
    if lost:
        _logger.warning("online store in %s is built anew: %s", store_folder(state), lost)
    return not lost


def store_folder(state: Path) -> Path:
    """Where `build_online_store` leaves what belongs to the store."""
    return state / _FOLDER


def connect_built(state: Path) -> "FeatureStore":
    """A connection of its own to the store that `build_online_store` left in `state`.

    Raises:
        BadInput: there is none.
    """
    from feature_repo.store import connect

    folder = store_folder(state)
    built = read_json(folder / _BUILT)
    return connect(folder / "registry.db", built["online"] or folder / _DATABASE, built["project"])


class OnlineFeatures:
    """Reads the ranker's features of one request from the store that `build_online_store` left in `state`.

    Attributes:
        failing: why the store cannot be read now, empty where it can.
        as_of: the instant as of which its features hold, as it was at the last look.
    """

    def __init__(self, state: Path):
        from feast.protos.feast.types.EntityKey_pb2 import EntityKey
        from feast.protos.feast.types.Value_pb2 import Value

        from feature_repo import packed
        from feature_repo.definitions import FRESHNESS, FRESHNESS_OF

        self.failing = ""
        self._state = state
        self._packed = packed
        self._freshness, self._freshness_key = FRESHNESS, FRESHNESS_OF
        self._key: Callable[[Sequence[str], Sequence[str]], Any] = lambda names, values: EntityKey(
            join_keys=names, entity_values=[Value(string_val=value) for value in values]
        )
        self.reopen()
        self._items = ItemRows([f for view in ITEM_VIEWS for f in stored_features(view)], self._read_items)
        self._categories = ItemRows(stored_features(_CATEGORY_VIEW), self._read_categories)

    def reopen(self) -> None:
        """Connect, anew where the store was built anew."""
        store = connect_built(self._state)
        views = (*(v for v in VIEWS if v not in self._packed.PACKED), *self._packed.NAMES.values(), self._freshness)
        self._views = {view: store.get_feature_view(view) for view in views}
        self._known: dict[str, str] = read_json(store_folder(self._state) / _BUILT)["known"]
        self._file = None if store.config.online_store.type == "redis" else _identity(self._state)
        self._store = store
        self.as_of = self._fresh_as_of()

    def check(self) -> None:
        """Set `failing` to what is true now."""
        try:
            self.failing = self.lost()
            self.as_of = self._fresh_as_of()
        except StoreUnavailable as error:
            self.failing = str(error)

    def lost(self) -> str:
        """What a store that answers has lost of what it was built with; empty where nothing is known to be.

        Raises:
            StoreUnavailable: it does not answer.
        """
        if self._file and not _is_still_there(self._file, _identity(self._state)):
            return "online store: its file was moved, replaced or cut"
        rows = {view: self._read_rows(view, [(key,)])[0] for view, key in self._known.items()}
        # Redis gives values without content for a row that is not there.
        missing = [view for view, row in rows.items() if not any(value.ByteSize() for value in row.values())]
        return f"online store: rows of {', '.join(missing)} are missing" if missing else ""

    def _fresh_as_of(self) -> datetime:
        # Messages are empty, hence the epoch, where Redis has no row.
        row = self._read_rows(self._freshness, [(self._freshness_key,)])[0]
        return datetime.fromtimestamp(row["as_of"].int64_val if row else 0, UTC)

    def now(self) -> datetime:
        """When a request comes that does not say it."""
        now = datetime.now(UTC)
        return self.as_of if now - self.as_of > _STANDS_STILL else now

    def read(
        self, user_id: str, market_code: int, query_key: str, item_ids: Sequence[str], at: datetime | None = None
    ) -> tuple[dict[str, Any], bool]:
        """Feature columns of n items for one search, ready for `contracts.features.assemble`, and user_known.

        Numbers have n rows, or one that all items share, as sequences (1, SEQUENCE_LENGTH) have. `at` is the request's
        time, by default `now`.

        Raises:
            StoreUnavailable: the store cannot be read now.
        """
        request = {"user_id": user_id, "query_key": query_key}
        stored: dict[str, Any] = {"market_code": [market_code], "domain_code": [DOMAIN_CODES["search"]]}
        for view in REQUEST_VIEWS:
            row = self._rows(view, [tuple(request[key] for key in VIEWS[view])])[0]
            stored |= {name: _one(value) for name, value in self._values(view, row).items()}
        known = stored["user_bucket"][0] is not None
        items = self._items.columns(item_ids)
        others = {"item_id": item_ids, "category": items["category"].tolist(), "brand": items["brand"].tolist()}
        stored |= items | self._categories.columns(others["category"])
        for key, name in self._packed.NAMES.items():
            (row,) = self._rows(name, [(request[key],)])
            for view in (view for view, of in self._packed.PACKED.items() if of == key):
                stored |= self._pairs(view, row, others[VIEWS[view][1]])
        columns = complete(stored, np.array([epoch_seconds(at or self.now())]))
        return {f.name: columns[f.name] for f in FEATURES}, known

    def _rows(self, view: str, keys: Sequence[tuple[str, ...]]) -> list[dict[str, Any]]:
        """The stored values of each key of a view, as Feast's messages; empty where there is no row."""
        if self.failing:
            raise StoreUnavailable(self.failing)
        try:
            return self._read_rows(view, keys)
        except StoreUnavailable as error:
            self.failing = str(error)
            raise

    def _read_rows(self, view: str, keys: Sequence[tuple[str, ...]]) -> list[dict[str, Any]]:
        names = VIEWS.get(view) or self._views[view].join_keys
        entities = [self._key(names, key) for key in keys]
        with store_errors():
            found = self._store.provider.online_read(self._store.config, self._views[view], entities)
        return [row or {} for _, row in found]

    def _values(self, view: str, row: dict[str, Any]) -> dict[str, Any]:
        """Python values of a table's view, None where there is none."""
        return {column.name: _value(column, row.get(column.name)) for column in stored_features(view)}

    def _read_items(self, item_ids: Sequence[str]) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = [{} for _ in item_ids]
        for view in ITEM_VIEWS:
            for row, stored in zip(rows, self._rows(view, [(item_id,) for item_id in item_ids]), strict=True):
                row |= self._values(view, stored)
        return rows

    def _read_categories(self, categories: Sequence[str]) -> list[dict[str, Any]]:
        rows = self._rows(_CATEGORY_VIEW, [(category,) for category in categories])
        return [self._values(_CATEGORY_VIEW, row) for row in rows]

    def _pairs(self, view: str, row: Mapping[str, Any], others: Sequence[str]) -> dict[str, np.ndarray]:
        """Columns float64 (n,) of the pairs of a request's key with n others, NaN where there is no such pair."""
        features = self._packed.packed_features(view)
        keys = self._packed.Column(view).name
        if keys not in row:
            return {feature.name: np.full(len(others), np.nan) for feature in features}
        places = {key: place for place, key in enumerate(row[keys].string_list_val.val)}
        last = len(places)
        chosen = np.fromiter((places.get(other, last) for other in others), dtype=np.int64, count=len(others))
        values = {f.name: np.array(row[f.name].float_list_val.val, dtype=np.float64) for f in features}
        return {name: np.append(of_pairs, np.nan)[chosen] for name, of_pairs in values.items()}


def _identity(state: Path) -> tuple[int, int] | None:
    """Inode and size of the SQLite file, None where there is none."""
    try:
        found = (store_folder(state) / _DATABASE).stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size


def _is_still_there(opened: tuple[int, int], now: tuple[int, int] | None) -> bool:
    return now is not None and opened[0] == now[0] and opened[1] <= now[1]  # a push may have made it longer


def _value(column: Feature | Fact, message: Any) -> Any:
    field = _FIELDS[column.kind]
    if message is None or not message.HasField(field):
        return [] if column.kind == "sequence" else None
    value = getattr(message, field)
    return value.val if column.kind == "sequence" else value


def _one(value: Any) -> Any:
    """A column of one row."""
    if value is None or isinstance(value, int | float):
        return [value]
    padded = np.zeros((1, SEQUENCE_LENGTH), dtype=np.int64)
    latest = value[:SEQUENCE_LENGTH]
    padded[0, : len(latest)] = latest
    return padded
