"""Items' features in arrays: read through Feast once, kept for a while, looked up without a loop over values.

An item's row changes when a table is materialised, which is seldom; reading 1,000 of them takes Feast fifty
milliseconds. A row is therefore at most STALENESS_S older here than in the store.
"""

import time
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any

import numpy as np

from components.contracts.features import Feature

STALENESS_S = 60.0

# (item ids) -> a row per item: {feature: value, None where unknown}.
ReadRows = Callable[[Sequence[str]], Sequence[dict[str, Any]]]


class ItemRows:
    """A read-through cache of rows of numbers; threads may share it.

    Args:
        features: what a row holds, numeric and categorical.
        read: reads rows from the store.
        clock: seconds, for tests.
    """

    def __init__(
        self, features: Sequence[Feature], read: ReadRows, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._features = tuple(features)
        self._read = read
        self._clock = clock
        self._lock = Lock()
        self._places: dict[str, int] = {}
        self._read_at_N = np.empty(0)
        # Buckets are below 2**24, and so exact in float64; NaN says unknown.
        self._values_NF = np.empty((0, len(self._features)))

    def columns(self, item_ids: Sequence[str]) -> dict[str, np.ndarray]:
        """Columns float64 (n,) of n items by feature, NaN where the store has no value."""
        with self._lock:
            places_n = self._place(item_ids)
            stale_n = self._clock() - self._read_at_N[places_n] >= STALENESS_S
            if stale_n.any():
                self._refresh(np.unique(places_n[stale_n]), item_ids, places_n)
            values_nF = self._values_NF[places_n]
        return {feature.name: values_nF[:, column] for column, feature in enumerate(self._features)}

    def _place(self, item_ids: Sequence[str]) -> np.ndarray:
        known = self._places
        new = [item_id for item_id in dict.fromkeys(item_ids) if item_id not in known]
        if new:
            known.update(zip(new, range(len(known), len(known) + len(new)), strict=True))
            room = max(0, len(known) - len(self._read_at_N))
            if room:
                room = max(room, len(self._read_at_N))  # doubled, so that growing costs little
                self._read_at_N = np.concatenate([self._read_at_N, np.full(room, -np.inf)])
                self._values_NF = np.concatenate([self._values_NF, np.full((room, len(self._features)), np.nan)])
        return np.fromiter(map(known.__getitem__, item_ids), dtype=np.int64, count=len(item_ids))

    def _refresh(self, stale: np.ndarray, item_ids: Sequence[str], places_n: np.ndarray) -> None:
        by_place = dict(zip(places_n.tolist(), item_ids, strict=True))
        rows = self._read([by_place[place] for place in stale.tolist()])
        self._values_NF[stale] = np.array(
            [[row.get(feature.name) for feature in self._features] for row in rows], dtype=np.float64
        )
        self._read_at_N[stale] = self._clock()
