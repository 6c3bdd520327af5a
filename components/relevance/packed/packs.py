"""Token ids of many pairs in packs: pairs stand one after another and none is padded; a pack's tail alone is unused.

Pairs of one query begin with the same tokens, market and query. A causal trunk gives those tokens the same keys and
values whatever follows, so a pack may hold them once: the prefix, then what is each pair's own (our choice).

Shape suffixes: T tokens that a pack holds, P attention tiles, R pairs, N stretches of tokens that stand together (a
shared prefix, or what is a pair's own), S parts that pooling tells apart.
"""

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from components.relevance.packed.shape import TILE

# The shortest mean length (tokens per stretch) with which a pack can still be full, and the shortest prefix.
_SHORTEST = 4


@dataclass(frozen=True)
class Tokens:
    """Token ids of R pairs.

    Attributes:
        ids_T: int32, one pair's after another's.
        lengths_R: int64, tokens of each.
        queries_R: int64, or None where nothing is known; pairs that follow each other and have the same number are of
            one query.
    """

    ids_T: np.ndarray
    lengths_R: np.ndarray
    queries_R: np.ndarray | None = None

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
        known = [part.queries_R for part in parts if part.queries_R is not None]
        if len(known) < len(parts):
            return cls(ids_T, lengths_R)
        # Two runs of numbers never meet in an equal one: the parts' numbers alternate between even and odd.
        return cls(ids_T, lengths_R, np.concatenate([2 * own + place % 2 for place, own in enumerate(known)]))


@dataclass(frozen=True)
class Pack:
    """Pairs that run together.

    Attributes:
        rows: which pairs, in the order they stand in.
        ids_T: token ids int64; unused ones are 0. All tensors lie in the host's memory.
        positions_T: each token's position in its own pair, int64.
        tiles_P5: tiles of attention (`attention.packed_attention`), int32; unused ones are 0.
        parts_NS: tokens of each part of each stretch, int64, in the order of the tokens; the last has none.
        stretches_R2: each pair's own stretch and its prefix, int64; the last where it has none, or is beyond `rows`.
    """

    rows: np.ndarray
    ids_T: Tensor
    positions_T: Tensor
    tiles_P5: Tensor
    parts_NS: Tensor
    stretches_R2: Tensor

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """What a packed expert takes."""
        return self.ids_T, self.positions_T, self.tiles_P5, self.parts_NS, self.stretches_R2


def capacity(tokens: int) -> tuple[int, int]:
    """(stretches, tiles) that a pack of that many tokens holds at most; pairs are never more than stretches."""
    stretches = tokens // _SHORTEST
    return stretches, stretches + tokens // TILE


def packs(
    all_tokens: Tokens, sizes: Sequence[int], separator_id: int | None, pinned: bool = False, overhead: int = 0
) -> Iterator[Pack]:
    """The pairs in packs, in their own order; where queries are known, a prefix that their pairs share stands once.

    Args:
        all_tokens: tokens of the pairs; each pair has one at least, and at most the largest size.
        sizes: tokens that a pack may hold, ascending; most packs are of the last. Few sizes mean few shapes to warm up.
        separator_id: the token that begins a pair's second part, S = 2; None: a pair is one part.
        pinned: whether tensors lie in memory that a GPU copies from while other work goes on.
        overhead: tokens that could be computed in the time that a pack takes besides its tokens. One pack with room
            left over is better than two full ones where that costs less.
    """
    lengths, count = all_tokens.lengths_R, len(all_tokens.lengths_R)
    assert not count or (lengths.min() >= 1 and lengths.max() <= sizes[-1]), "pairs have 1 token at least, and fit"
    begins = np.concatenate([[0], lengths.cumsum()])
    prefix_R, leads_R = _prefixes(all_tokens)
    with_prefix_R = leads_R & (prefix_R > 0)
    ends = np.concatenate([[0], (lengths - np.where(leads_R, 0, prefix_R)).cumsum()])
    stretch_ends = np.concatenate([[0], (1 + with_prefix_R).cumsum()])
    best = _best_sizes(tuple(sizes), overhead)
    unit = math.gcd(*sizes)
    start = 0
    while start < count:
        # A pack that begins amid a query's pairs holds their prefix once more.
        again = 0 if leads_R[start] else int(prefix_R[start])
        left = int(ends[-1] - ends[start]) + again
        size = best[min(-(-left // unit), len(best) - 1)]
        size = max(size, next(size for size in sizes if lengths[start] <= size))
        stop = int(np.searchsorted(ends, ends[start] + size - again, side="right")) - 1
        most = stretch_ends[start] + capacity(size)[0] - bool(again)
        stop = min(stop, int(np.searchsorted(stretch_ends, most, side="right")) - 1)
        leads = leads_R[start:stop].copy()
        leads[0] = True
        own_ids = all_tokens.ids_T[begins[start] : begins[stop]]
        arrays = _pack(own_ids, lengths[start:stop], prefix_R[start:stop], leads, size, separator_id)
        tensors = [torch.from_numpy(array) for array in arrays]
        yield Pack(np.arange(start, stop), *(tensor.pin_memory() for tensor in tensors) if pinned else tensors)
        start = stop


@functools.cache
def _best_sizes(sizes: tuple[int, ...], overhead: int) -> list[int]:
    """The next pack's size, by the tokens that are left in units of the sizes' common divisor, rounded up.

    Packs that follow are counted in: the cheapest way to hold all that is left. More than twice the largest size is
    begun with the largest.
    """
    unit = math.gcd(*sizes)
    cost, best = [0], [sizes[0]]
    for left in range(1, 2 * sizes[-1] // unit + 1):
        # Of equally cheap ones the largest: less follows.
        cost_now, negative = min((overhead + size + cost[max(0, left - size // unit)], -size) for size in sizes)
        cost.append(cost_now)
        best.append(-negative)
    return [*best, sizes[-1]]


def _prefixes(tokens: Tokens) -> tuple[np.ndarray, np.ndarray]:
    """(tokens that each pair shares with all pairs of its query, int64 (R,); whether it is its query's first).

    At least one token of a pair stays its own. A pair that is alone, or shares next to nothing, shares nothing.
    """
    lengths, queries = tokens.lengths_R, tokens.queries_R
    if queries is None or not len(queries):
        return np.zeros(len(lengths), dtype=np.int64), np.ones(len(lengths), dtype=bool)
    leads_R = np.concatenate([[True], queries[1:] != queries[:-1]])
    first_pair = np.flatnonzero(leads_R)
    of_query = np.diff(np.append(first_pair, len(queries)))
    begins = lengths.cumsum() - lengths
    place_T = np.arange(len(tokens.ids_T)) - np.repeat(begins, lengths)
    lead_R = np.repeat(first_pair, of_query)
    in_lead_T = np.repeat(begins[lead_R], lengths) + place_T
    same_T = place_T < np.repeat(lengths[lead_R], lengths)
    same_T &= tokens.ids_T[np.minimum(in_lead_T, len(tokens.ids_T) - 1)] == tokens.ids_T
    differs_R = np.minimum.reduceat(np.where(same_T, np.iinfo(np.int64).max, place_T), begins)
    shared = np.minimum.reduceat(np.minimum(differs_R, lengths - 1), first_pair)
    shared[(of_query == 1) | (shared < _SHORTEST)] = 0
    return np.repeat(shared, of_query), leads_R


def _pack(
    own_ids: np.ndarray,
    lengths: np.ndarray,
    prefix: np.ndarray,
    leads: np.ndarray,
    size: int,
    separator_id: int | None,
) -> tuple[np.ndarray, ...]:
    """A pack's ids_T, positions_T, tiles_P5, parts_NS and stretches_R2."""
    most, most_tiles = capacity(size)
    begins = lengths.cumsum() - lengths
    with_prefix = leads & (prefix > 0)
    own_stretch = (1 + with_prefix).cumsum() - 1
    prefix_stretch = np.maximum.accumulate(np.where(with_prefix, own_stretch - 1, -1))
    stretches = np.full((most, 2), most, dtype=np.int64)
    stretches[: len(lengths)] = np.stack([own_stretch, np.where(prefix > 0, prefix_stretch, most)], axis=1)

    def both(of_pair: np.ndarray, of_prefix: np.ndarray) -> np.ndarray:
        """One number per stretch, in their order."""
        values = np.zeros(own_stretch[-1] + 1, dtype=np.int64)
        values[own_stretch] = of_pair
        values[own_stretch[with_prefix] - 1] = of_prefix[with_prefix]
        return values

    nothing = np.zeros_like(prefix)
    length_N, skipped_N = both(lengths - prefix, prefix), both(prefix, nothing)
    begin_N, tokens = length_N.cumsum() - length_N, int(length_N.sum())
    place = np.arange(tokens) - np.repeat(begin_N, length_N)
    ids_T = np.zeros(size, dtype=np.int64)
    ids_T[:tokens] = own_ids[np.repeat(both(begins + prefix, begins), length_N) + place]
    positions_T = np.zeros(size, dtype=np.int64)
    positions_T[:tokens] = place + np.repeat(skipped_N, length_N)

    tiles_N = -(-length_N // TILE)
    tile = np.repeat(np.arange(len(length_N)), tiles_N)
    offset = (np.arange(len(tile)) - np.repeat(tiles_N.cumsum() - tiles_N, tiles_N)) * TILE
    prefix_begin_N = both(np.where(prefix > 0, begin_N[prefix_stretch], 0), nothing)
    columns = (begin_N[tile], length_N[tile], offset, prefix_begin_N[tile], skipped_N[tile])
    tiles_P5 = np.zeros((most_tiles, 5), dtype=np.int32)
    tiles_P5[: len(tile)] = np.stack(columns, axis=1)

    parts_NS = np.zeros((most + 1, 1 if separator_id is None else 2), dtype=np.int64)
    parts_NS[: len(length_N), 0] = length_N
    if separator_id is not None:
        # Tokens before the first separator; all of them, where a cut took the separator away.
        at = np.arange(len(own_ids)) - np.repeat(begins, lengths)
        first = np.where(own_ids == separator_id, at, np.iinfo(np.int64).max)
        query = np.minimum(np.minimum.reduceat(first, begins), lengths)
        query_N = both(np.maximum(query - prefix, 0), np.minimum(query, prefix))
        parts_NS[: len(length_N)] = np.stack([query_N, length_N - query_N], axis=1)
    return ids_T, positions_T, tiles_P5, parts_NS, stretches
