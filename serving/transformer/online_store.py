"""The online store of a release: built from its feature tables, read at request time, both through Feast.

Choices (ours):

- A request's own rows (user, query) are read from the store each time, so that a push is seen by the next search.
- Stored relevance is one row per query (`feature_repo.packed`); items' rows are kept for a minute (`item_rows`).
- Rows are read with Feast's provider: its `get_online_features` builds an object for every value.
- A store that releases share is namespaced by the release's name.
- A store is checked before it is trusted, when a server starts and whenever a read failed: an SQLite file by SQLite and
  by the rows of each table, any store by a row of each kind. One that has lost something is built anew.
- While a store cannot be read, searches are refused at once: nobody waits for it but the one who looks (`check`).
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from components.contracts.features import FEATURES, SEQUENCE_LENGTH, Feature, stored_features
from components.contracts.markets import DOMAIN_CODES
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
_LAYOUT = 1
# Where a value lies in Feast's protobuf message.
_FIELDS = {"numeric": "float_val", "categorical": "int64_val", "sequence": "int64_list_val"}
_USER_VIEWS = ("user_profile", "user_stats", "user_sequences")
_ITEM_VIEWS = ("item_profile", "item_stats")
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
        self._key: Callable[[str, str], Any] = lambda name, value: EntityKey(
            join_keys=[name], entity_values=[Value(string_val=value)]
        )
        self.reopen()
        self._items = ItemRows([f for view in _ITEM_VIEWS for f in stored_features(view)], self._read_items)

    def reopen(self) -> None:
        """Connect, anew where the store was built anew."""
        store = connect_built(self._state)
        views = (*_USER_VIEWS, *_ITEM_VIEWS, "query_stats", self._packed.VIEW, self._freshness)
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
        rows = {view: self._read_rows(view, [key])[0] for view, key in self._known.items()}
        # Redis gives values without content for a row that is not there.
        missing = [view for view, row in rows.items() if not any(value.ByteSize() for value in row.values())]
        return f"online store: rows of {', '.join(missing)} are missing" if missing else ""

    def _fresh_as_of(self) -> datetime:
        # Messages are empty, hence the epoch, where Redis has no row.
        row = self._read_rows(self._freshness, [self._freshness_key])[0]
        return datetime.fromtimestamp(row["as_of"].int64_val if row else 0, UTC)

    def read(
        self, user_id: str, market_code: int, query_key: str, item_ids: Sequence[str]
    ) -> tuple[dict[str, np.ndarray], bool]:
        """Feature columns of n items for one search, ready for `contracts.features.assemble`, and user_known.

        Numeric columns are float32 (n,), NaN where unknown; categorical int64 (n,), 0 where unknown; sequences int64
        (n, SEQUENCE_LENGTH), 0-padded.

        Raises:
            StoreUnavailable: the store cannot be read now.
        """
        n = len(item_ids)
        request: dict[str, Any] = {"market_code": market_code, "domain_code": DOMAIN_CODES["search"]}
        for view, key in (*((view, user_id) for view in _USER_VIEWS), ("query_stats", query_key)):
            request |= self._values(view, self._rows(view, [key])[0])
        candidates = self._items.columns(item_ids) | {"relevance": self._relevance(query_key, item_ids)}
        columns = {}
        for feature in FEATURES:
            value = candidates[feature.name] if feature.name in candidates else request[feature.name]
            columns[feature.name] = _column(feature, value, n)
        return columns, request["user_bucket"] is not None

    def _rows(self, view: str, keys: Sequence[str]) -> list[dict[str, Any]]:
        """The stored values of each key of a view, as Feast's messages; empty where there is no row."""
        if self.failing:
            raise StoreUnavailable(self.failing)
        try:
            return self._read_rows(view, keys)
        except StoreUnavailable as error:
            self.failing = str(error)
            raise

    def _read_rows(self, view: str, keys: Sequence[str]) -> list[dict[str, Any]]:
        name = self._views[view].join_keys[0]
        entities = [self._key(name, key) for key in keys]
        with store_errors():
            found = self._store.provider.online_read(self._store.config, self._views[view], entities)
        return [row or {} for _, row in found]

    def _values(self, view: str, row: dict[str, Any]) -> dict[str, Any]:
        """Python values of a table's view, None where there is none."""
        return {feature.name: _value(feature, row.get(feature.name)) for feature in stored_features(view)}

    def _read_items(self, item_ids: Sequence[str]) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = [{} for _ in item_ids]
        for view in _ITEM_VIEWS:
            for row, stored in zip(rows, self._rows(view, item_ids), strict=True):
                row |= self._values(view, stored)
        return rows

    def _relevance(self, query_key: str, item_ids: Sequence[str]) -> np.ndarray:
        """float64 (n,), NaN where none is stored."""
        (row,) = self._rows(self._packed.VIEW, [query_key])
        if not row:
            return np.full(len(item_ids), np.nan)
        scored = row[self._packed.ITEM_IDS].string_list_val.val
        known = dict(zip(scored, row[self._packed.RELEVANCE].float_list_val.val, strict=True))
        return np.array(list(map(known.get, item_ids)), dtype=np.float64)  # None becomes NaN


def _identity(state: Path) -> tuple[int, int] | None:
    """Inode and size of the SQLite file, None where there is none."""
    try:
        found = (store_folder(state) / _DATABASE).stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size


def _is_still_there(opened: tuple[int, int], now: tuple[int, int] | None) -> bool:
    return now is not None and opened[0] == now[0] and opened[1] <= now[1]  # a push may have made it longer


def _value(feature: Feature, message: Any) -> Any:
    field = _FIELDS[feature.kind]
    if message is None or not message.HasField(field):
        return None
    value = getattr(message, field)
    return value.val if feature.kind == "sequence" else value


def _column(feature: Feature, value: Any, n: int) -> np.ndarray:
    """A column of n rows from an array, or from the one value that all rows share."""
    if feature.kind == "sequence":
        padded = np.zeros(SEQUENCE_LENGTH, dtype=np.int64)
        latest = (value or ())[:SEQUENCE_LENGTH]
        padded[: len(latest)] = latest
        return np.broadcast_to(padded, (n, SEQUENCE_LENGTH))
    floats = np.asarray(value, dtype=np.float64)  # None becomes NaN
    if feature.kind == "categorical":
        floats = np.where(np.isnan(floats), 0, floats)
    dtype = np.float32 if feature.kind == "numeric" else np.int64
    return np.broadcast_to(floats.astype(dtype), (n,))
