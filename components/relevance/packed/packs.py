"""Token ids of many pairs in packs: pairs stand one after another and none is padded; a pack's tail alone is unused.

Shape suffixes: T tokens that a pack holds, P attention tiles, R pairs, S parts that pooling tells apart.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from components.relevance.packed.shape import TILE

# The shortest mean length (tokens per pair) with which a pack can still be full.
_SHORTEST = 4


@dataclass(frozen=True)
class Tokens:
    """Token ids of R pairs.

    Attributes:
        ids_T: int32, one pair's after another's.
        lengths_R: int64, tokens of each.
    """

    ids_T: np.ndarray
    lengths_R: np.ndarray

    @classmethod
    def of(cls, ids: Sequence[Sequence[int]]) -> "Tokens":
        """From one list per pair."""
        lengths_R = np.fromiter(map(len, ids), dtype=np.int64, count=len(ids))
        return cls(np.fromiter(chain.from_iterable(ids), dtype=np.int32, count=int(lengths_R.sum())), lengths_R)

    @classmethod
    def joined(cls, parts: Sequence["Tokens"]) -> "Tokens":
        """Of all parts' pairs, in order."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("ids_T", "lengths_R")))


@dataclass(frozen=True)
class Pack:
    """Pairs that run together.

    Attributes:
        rows: which pairs, in the order they stand in.
        ids_T: token ids int64; unused ones are 0. All tensors lie in the host's memory.
        positions_T: each token's position in its own pair, int64.
        tiles_P3: tiles of attention (`attention.packed_attention`), int32; unused ones are 0.
        parts_RS: tokens of each part of each pair, int64; a pair beyond `rows` has none.
    """

    rows: np.ndarray
    ids_T: Tensor
    positions_T: Tensor
    tiles_P3: Tensor
    parts_RS: Tensor

    @property
    def inputs(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What a packed expert takes."""
        return self.ids_T, self.positions_T, self.tiles_P3, self.parts_RS


def capacity(tokens: int) -> tuple[int, int]:
    """(pairs, tiles) that a pack of that many tokens holds at most."""
    pairs = tokens // _SHORTEST
    return pairs, pairs + tokens // TILE


def packs(all_tokens: Tokens, sizes: Sequence[int], separator_id: int | None, pinned: bool = False) -> Iterator[Pack]:
    """The pairs in packs, in their own order.

    Args:
        all_tokens: tokens of the pairs; each pair has one at least, and at most the largest size.
        sizes: tokens that a pack may hold, ascending; most packs are of the last. Few sizes mean few shapes to warm up.
        separator_id: the token that begins a pair's second part, S = 2; None: a pair is one part.
        pinned: whether tensors lie in memory that a GPU copies from while other work goes on.
    """
    lengths, count = all_tokens.lengths_R, len(all_tokens.lengths_R)
    assert not count or (lengths.min() >= 1 and lengths.max() <= sizes[-1]), "pairs have 1 token at least, and fit"
    ends = np.concatenate([[0], lengths.cumsum()])
    start = 0
    while start < count:
        left = ends[-1] - ends[start]
        # The rest goes into ever smaller packs, so that little is left empty.
        size = max((size for size in sizes if size <= left), default=sizes[0])
        size = max(size, next(size for size in sizes if lengths[start] <= size))
        stop = int(np.searchsorted(ends, ends[start] + size, side="right")) - 1
        stop = min(stop, start + capacity(size)[0])
        arrays = _pack(all_tokens.ids_T[ends[start] : ends[stop]], lengths[start:stop], size, separator_id)
        tensors = [torch.from_numpy(array) for array in arrays]
        ids_T, positions_T, tiles_P3, parts_RS = (tensor.pin_memory() for tensor in tensors) if pinned else tensors
        yield Pack(np.arange(start, stop), ids_T, positions_T, tiles_P3, parts_RS)
        start = stop


def _pack(
    own_ids: np.ndarray, lengths: np.ndarray, size: int, separator_id: int | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A pack's ids_T, positions_T, tiles_P3 and parts_RS."""
    pairs, tiles = capacity(size)
    tokens = len(own_ids)
    begins = lengths.cumsum() - lengths
    ids_T = np.zeros(size, dtype=np.int64)
    ids_T[:tokens] = own_ids
    positions_T = np.zeros(size, dtype=np.int64)
    positions_T[:tokens] = np.arange(tokens) - np.repeat(begins, lengths)

    a_pair = -(-lengths // TILE)
    tile = np.repeat(np.arange(len(lengths)), a_pair)
    offset = (np.arange(len(tile)) - np.repeat(a_pair.cumsum() - a_pair, a_pair)) * TILE
    tiles_P3 = np.zeros((tiles, 3), dtype=np.int32)
    tiles_P3[: len(tile)] = np.stack([begins[tile], lengths[tile], offset], axis=1)

    parts_RS = np.zeros((pairs, 1 if separator_id is None else 2), dtype=np.int64)
    parts_RS[: len(lengths), 0] = lengths
    if separator_id is not None:
        # Tokens before the first separator; all of them, where a cut took the separator away.
        first = np.where(ids_T[:tokens] == separator_id, positions_T[:tokens], np.iinfo(np.int64).max)
        query = np.minimum(np.minimum.reduceat(first, begins), lengths)
        parts_RS[: len(lengths)] = np.stack([query, lengths - query], axis=1)
    return ids_T, positions_T, tiles_P3, parts_RS
