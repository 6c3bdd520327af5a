"""The online store of a release: built from its feature tables, read at request time, both through Feast."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from components.contracts.features import FEATURES, Feature
from components.contracts.markets import DOMAIN_CODES
from components.contracts.tools.lock import alone_in
from components.contracts.tools.log import get_logger
from components.contracts.tools.manifest import atomic_directory, read_json, read_manifest, write_json

if TYPE_CHECKING:
    from feast import FeatureStore

_FOLDER = "online_store"
_BUILT = "built.json"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_logger = get_logger(__name__)


def build_online_store(features: Path, state: Path, online: str | None = None) -> None:
    """Materialise feature tables into an online store; does nothing when `state` holds a store of the same tables.

    Args:
        features: folder of feature tables with a manifest (a release's latest slice).
        state: folder for the registry and the SQLite file, replaced as a whole; created if need be.
        online: address of another online store (`feature_repo.store.connect`), e.g. ``redis://host:6379``. No command
            passes one yet.

    Raises:
        BadInput: `features` has no manifest.
    """
    manifest = read_manifest(features)
    wanted = {"digest": manifest["digest"], "online": online}
    target = state / _FOLDER
    state.mkdir(parents=True, exist_ok=True)
    with alone_in(state):  # of two servers that start together, one builds and the other finds it built
        if (target / _BUILT).is_file() and read_json(target / _BUILT) == wanted:
            return
        from feature_repo.store import offline_session, open_store

        with atomic_directory(target) as root, offline_session():
            store = open_store(features, root / "registry.db", online or root / "online.db")
            store.materialize(_EPOCH, datetime.fromisoformat(manifest["as_of"]))
            write_json(root / _BUILT, wanted)
    _logger.info("online store built in %s from features %s", target, manifest["digest"][:12])


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
    online = read_json(folder / _BUILT)["online"]
    return connect(folder / "registry.db", online or folder / "online.db")


class OnlineFeatures:
    """Reads the ranker's features of one request from the store that `build_online_store` left in `state`."""

    def __init__(self, state: Path):
        from feature_repo.definitions import CANDIDATE_VIEWS, REQUEST_VIEWS, service_references

        self._store = connect_built(state)
        self._of_request = service_references(self._store, REQUEST_VIEWS)
        self._of_candidate = service_references(self._store, CANDIDATE_VIEWS)

    def read(
        self, user_id: str, market_code: int, query_key: str, item_ids: Sequence[str]
    ) -> tuple[dict[str, np.ndarray | list[Any]], bool]:
        """Feature columns of n items for one search, ready for `contracts.features.assemble`, and user_known.

        Two batched reads: the user and the query once, all items and their relevance to the query together. Numeric
        columns are float32 (n,), NaN where unknown; categorical int64 (n,), 0 where unknown; sequences n lists.
        """
        n = len(item_ids)
        request = self._read(self._of_request, {"user_id": [user_id], "query_key": [query_key]})
        candidates = self._read(self._of_candidate, {"item_id": list(item_ids), "query_key": [query_key] * n})
        values = {name: column * n for name, column in request.items()} | candidates
        values |= {"market_code": [market_code] * n, "domain_code": [DOMAIN_CODES["search"]] * n}
        return {f.name: _column(f, values[f.name]) for f in FEATURES}, request["user_bucket"][0] is not None

    def _read(self, references: list[str], entities: dict[str, list[str]]) -> dict[str, list[Any]]:
        return dict(self._store.get_online_features(features=references, entity_rows=entities).to_dict())


def _column(feature: Feature, values: list[Any]) -> np.ndarray | list[Any]:
    if feature.kind == "sequence":
        return values
    floats = np.array(values, dtype=np.float64)
    if feature.kind == "numeric":
        return floats.astype(np.float32)
    return np.where(np.isnan(floats), 0, floats).astype(np.int64)
