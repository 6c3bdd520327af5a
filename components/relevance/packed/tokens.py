"""Token ids of many pairs, end to end; numpy alone, which is all that a model server on a CPU has.

Shape suffixes: T tokens, R pairs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np


@dataclass(frozen=True)
class Tokens:
    """Token ids of R pairs.

    Attributes:
        ids_T: int32, one pair's after another's.
        lengths_R: int64, tokens of each.
        queries_R: int64, or None where nothing is known; pairs that follow each other and have the same number are of
            one query.
        cut_R2: bool (R, 2), whether tokens of the query and of the item were left out, or None where nothing is known.
    """

    ids_T: np.ndarray
    lengths_R: np.ndarray
    queries_R: np.ndarray | None = None
    cut_R2: np.ndarray | None = None

    @classmethod
    def of(cls, ids: Sequence[Sequence[int]], queries_R: np.ndarray | None = None) -> "Tokens":
        """From one list per pair."""
        lengths_R = np.fromiter(map(len, ids), dtype=np.int64, count=len(ids))
        flat_T = np.fromiter(chain.from_iterable(ids), dtype=np.int32, count=int(lengths_R.sum()))
        return cls(flat_T, lengths_R, queries_R)

    @classmethod
    def joined(cls, parts: Sequence["Tokens"]) -> "Tokens":
        """Of all parts' pairs, in order; no query reaches from one part into the next."""
        ids_T, lengths_R = (np.concatenate([getattr(part, name) for part in parts]) for name in ("ids_T", "lengths_R"))
        cut = [part.cut_R2 for part in parts if part.cut_R2 is not None]
        cut_R2 = np.concatenate(cut) if len(cut) == len(parts) else None
        known = [part.queries_R for part in parts if part.queries_R is not None]
        if len(known) < len(parts):
            return cls(ids_T, lengths_R, None, cut_R2)
        # Two runs of numbers never meet in an equal one: the parts' numbers alternate between even and odd.
        return cls(ids_T, lengths_R, np.concatenate([2 * own + place % 2 for place, own in enumerate(known)]), cut_R2)

    def lists(self) -> list[np.ndarray]:
        """Ids of each pair."""
        return np.split(self.ids_T, self.lengths_R.cumsum()[:-1])
