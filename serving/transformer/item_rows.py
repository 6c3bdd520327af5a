"""Features of items and categories in arrays: read through Feast once, kept for a while, looked up without a loop.

An item's row changes when a table is materialised, which is seldom; reading 1,000 of them takes Feast fifty
milliseconds. A row is therefore at most STALENESS_S older here than in the store.
"""

import time
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any

import numpy as np

from components.contracts.features import Fact, Feature

STALENESS_S = 60.0

# (keys) -> a row per key: {column: value, None where unknown}.
ReadRows = Callable[[Sequence[str]], Sequence[dict[str, Any]]]


class ItemRows:
    """A read-through cache of rows of numbers and texts; threads may share it.

    Args:
        columns: what a row holds; no sequences.
        read: reads rows from the store.
        clock: seconds, for tests.
    """

    def __init__(
        self, columns: Sequence[Feature | Fact], read: ReadRows, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._numbers = tuple(column.name for column in columns if column.kind != "text")
        self._texts = tuple(column.name for column in columns if column.kind == "text")
        self._read = read
        self._clock = clock
        self._lock = Lock()
        self._places: dict[str, int] = {}
        self._read_at_N = np.empty(0)
        # Buckets and times are below 2**53, and so exact in float64; NaN says unknown.
        self._values_NF = np.empty((0, len(self._numbers)))
        self._texts_NT = np.empty((0, len(self._texts)), dtype=object)

    def columns(self, keys: Sequence[str]) -> dict[str, np.ndarray]:
        """Columns (n,) of n keys: numbers float64, NaN where the store has no value; texts, empty where it has none."""
        with self._lock:
            places_n = self._place(keys)
            stale_n = self._clock() - self._read_at_N[places_n] >= STALENESS_S
            if stale_n.any():
                self._refresh(np.unique(places_n[stale_n]), keys, places_n)
            values_nF, texts_nT = self._values_NF[places_n], self._texts_NT[places_n]
        numbers = {name: values_nF[:, column] for column, name in enumerate(self._numbers)}
        return numbers | {name: texts_nT[:, column] for column, name in enumerate(self._texts)}

    def _place(self, keys: Sequence[str]) -> np.ndarray:
        known = self._places
        new = [key for key in dict.fromkeys(keys) if key not in known]
        if new:
            known.update(zip(new, range(len(known), len(known) + len(new)), strict=True))
            room = max(0, len(known) - len(self._read_at_N))
            if room:
                room = max(room, len(self._read_at_N))  # doubled, so that growing costs little
                self._read_at_N = np.concatenate([self._read_at_N, np.full(room, -np.inf)])
                self._values_NF = np.concatenate([self._values_NF, np.full((room, len(self._numbers)), np.nan)])
                self._texts_NT = np.concatenate([self._texts_NT, np.full((room, len(self._texts)), "", dtype=object)])
        return np.fromiter(map(known.__getitem__, keys), dtype=np.int64, count=len(keys))

    def _refresh(self, stale: np.ndarray, keys: Sequence[str], places_n: np.ndarray) -> None:
        by_place = dict(zip(places_n.tolist(), keys, strict=True))
        rows = self._read([by_place[place] for place in stale.tolist()])
        self._values_NF[stale] = np.array([[row.get(name) for name in self._numbers] for row in rows], dtype=np.float64)
        self._texts_NT[stale] = np.array([[row.get(name) or "" for name in self._texts] for row in rows], dtype=object)
        self._read_at_N[stale] = self._clock()
