"""What users click and buy, pushed into the online store, so that their next search sees it.

Choices (ours):

- Only sequences are pushed. Counts of clicks and carts are as of midnight, in training as online: a fresher count would
  be a feature that the ranker never saw. No feature holds carts.
- Items get the codes that the store holds for them, which are the batch features'; the row is the one that the feature
  tables would hold after these events (`components.features.sequences`), if events arrive in the order of their times.
  An event that arrives late counts as the newest until the next release.
- A user's row is read, changed and written by one thread of a process, under a lock of the folder that holds for all
  processes of this machine: no event is lost between them. Servers on different machines that share one Redis do not
  lock each other: of two events of one user within the milliseconds of a read and a write, one may be missing until the
  next release.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd

from components.contracts.features import SEQUENCE_LENGTH, stored_features
from components.contracts.tools.lock import alone_in
from feature_repo.definitions import PUSH_SOURCE, PUSHED_VIEW, TIMESTAMP_FIELD
from serving.observe.log_tables import Event
from serving.transformer.online_store import connect_built, store_folder
from serving.transformer.store_check import store_errors

# Prefix of the sequences that an event's type extends.
_PREFIXES = {"click": "clicked", "purchase": "purchased"}
_SEQUENCES = [feature.name for feature in stored_features(PUSHED_VIEW)]
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
        self._store = connect_built(self._state)

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
                for name, code in zip(("items", "categories"), codes[event.item_id], strict=True):
                    row[f"{prefix}_{name}"] = [code, *row[f"{prefix}_{name}"]][:SEQUENCE_LENGTH]
                times[event.user_id] = max(event.timestamp + _JUST_AFTER, times[event.user_id] + _APART)
            frame = pd.DataFrame([{"user_id": user, TIMESTAMP_FIELD: times[user]} | rows[user] for user in users])
            self._store.push(PUSH_SOURCE, frame)

    def _codes(self, items: list[str]) -> dict[str, tuple[int, int]]:
        """Bucket and category bucket of each item that has them."""
        features = ["item_profile:item_bucket", "item_profile:category_bucket"]
        found = self._store.get_online_features(features=features, entity_rows={"item_id": items}).to_dict()
        pairs = zip(items, found["item_bucket"], found["category_bucket"], strict=True)
        return {item: (bucket, category) for item, bucket, category in pairs if bucket is not None}

    def _rows(self, users: list[str]) -> tuple[dict[str, dict[str, list[int]]], dict[str, datetime]]:
        """Sequences of each user as stored, empty where none are, and the time of the row."""
        features = [f"{PUSHED_VIEW}:{name}" for name in _SEQUENCES]
        answer = self._store.get_online_features(features=features, entity_rows={"user_id": users})
        found = answer.to_dict()
        rows = {user: {name: list(found[name][place] or ()) for name in _SEQUENCES} for place, user in enumerate(users)}
        # Of any of the row's values; to_dict would cut it to the second.
        times = answer.proto.results[-1].event_timestamps
        return rows, {user: times[place].ToDatetime(UTC) for place, user in enumerate(users)}
