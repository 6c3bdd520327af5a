"""What users click and buy, pushed into the online store, so that their next search sees it.

Choices (ours):

- Only sequences of clicks and purchases are pushed. Counts are as of midnight, in training as online: a fresher count
  would be a feature that the ranker never saw. No sequence holds carts.
- Items get the codes that the store holds for them, which are the batch features'; the row is the one that the feature
  tables would hold after these events (`components.features.sequences`), if events arrive in the order of their times.
  An event that arrives late counts as the newest until the next release.
- A user's row is read, changed and written by one thread of a process, under a lock of the folder that holds for all
  processes of this machine: no event is lost between them. Servers on different machines that share one Redis do not
  lock each other: of two events of one user within the milliseconds of a read and a write, one may be missing until the
  next release.
- Rows are read and written with Feast's provider. `FeatureStore.push` to the view's push source ends in the same write,
  after reading the whole registry; who has a stream of events uses that.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from components.contracts.features import SEQUENCE_LENGTH, stored_features
from components.contracts.markets import DOMAIN_CODES
from components.contracts.request_time import epoch_seconds
from components.contracts.tools.lock import alone_in
from feature_repo.definitions import PUSHED_VIEW, TIMESTAMP_FIELD
from serving.observe.log_tables import Event
from serving.transformer.online_store import connect_built, store_folder
from serving.transformer.store_check import store_errors

# Prefix of the sequences that an event's type extends.
_PREFIXES = {"click": "clicked", "purchase": "purchased"}
_ITEM_VIEW = "item_profile"
_SEQUENCES = [column.name for column in stored_features(PUSHED_VIEW)]
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)
# As in the feature tables: a row is visible from just after its event.
_JUST_AFTER = timedelta(microseconds=1)
# Redis skips a row that is not newer than the one it holds, and Feast reads times through floats, not quite exactly.
_APART = timedelta(milliseconds=1)


class Session:
    """Writes sequences into the store that `build_online_store` left in `state`; for one thread."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._folder = store_folder(state)
        self.reopen()

    def reopen(self) -> None:
        """Connect, anew where the store was built anew."""
        store = connect_built(self._state)
        self._views = {view: store.get_feature_view(view) for view in (PUSHED_VIEW, _ITEM_VIEW)}
        self._store = store

    def push(self, events: Sequence[Event]) -> None:
        """Put clicks and purchases of users, any number of them, at the head of their sequences.

        Events of one user count in the order of their times, then ids. Items without codes are left out.

        Raises:
            StoreUnavailable: the store cannot be read or written now.
        """
        with store_errors():
            self._push(events)

    def _push(self, events: Sequence[Event]) -> None:
        lasting = sorted((e for e in events if e.type in _PREFIXES), key=lambda e: (e.timestamp, e.event_id))
        codes = self._codes(sorted({event.item_id for event in lasting})) if lasting else {}
        lasting = [event for event in lasting if event.item_id in codes]
        users = sorted({event.user_id for event in lasting})
        if not users:
            return
        with alone_in(self._folder):
            rows, times = self._rows(users)
            for event in lasting:
                prefix, row = _PREFIXES[event.type], rows[event.user_id]
                item, category = codes[event.item_id]
                newest = {"items": item, "categories": category, "domains": DOMAIN_CODES[event.domain] + 1}
                for name, value in (newest | {"at": epoch_seconds(event.timestamp)}).items():
                    row[f"{prefix}_{name}"] = [value, *row[f"{prefix}_{name}"]][:SEQUENCE_LENGTH]
                times[event.user_id] = max(event.timestamp + _JUST_AFTER, times[event.user_id] + _APART)
            frame = pd.DataFrame([{"user_id": user, TIMESTAMP_FIELD: times[user]} | rows[user] for user in users])
            self._store.provider.ingest_df(self._views[PUSHED_VIEW], frame)

    def _codes(self, items: list[str]) -> dict[str, tuple[int, int]]:
        """Bucket and category bucket of each item that has them."""
        codes = {}
        for item, (_, row) in zip(items, self._read(_ITEM_VIEW, items), strict=True):
            if "item_bucket" in row and row["item_bucket"].HasField("int64_val"):
                codes[item] = (row["item_bucket"].int64_val, row["category_bucket"].int64_val)
        return codes

    def _rows(self, users: list[str]) -> tuple[dict[str, dict[str, list[int]]], dict[str, datetime]]:
        """Sequences of each user as stored, empty where none are, and the time of the row."""
        rows, times = {}, {}
        for user, (time, row) in zip(users, self._read(PUSHED_VIEW, users), strict=True):
            rows[user] = {name: list(row[name].int64_list_val.val) if name in row else [] for name in _SEQUENCES}
            times[user] = time or _NEVER
        return rows, times

    def _read(self, view: str, keys: Sequence[str]) -> list[tuple[datetime | None, dict[str, Any]]]:
        """Time and values of each key's row, as Feast's messages; none and empty where there is no row."""
        from feast.protos.feast.types.EntityKey_pb2 import EntityKey
        from feast.protos.feast.types.Value_pb2 import Value

        names = self._views[view].join_keys
        entities = [EntityKey(join_keys=names, entity_values=[Value(string_val=key)]) for key in keys]
        found = self._store.provider.online_read(self._store.config, self._views[view], entities)
        return [(time, row or {}) for time, row in found]
