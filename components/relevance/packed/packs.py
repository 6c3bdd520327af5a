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

import numpy as np
import torch
from torch import Tensor

from components.relevance.packed.shape import TILE
from components.relevance.packed.tokens import Tokens

# The shortest mean length (tokens per stretch) with which a pack can still be full, and the shortest prefix.
_SHORTEST = 4


@dataclass(frozen=True)
class Pack:
    """Pairs that run together.

    Attributes:
        rows: which pairs, in the order they stand in.
        buffer: all that follows, int64 in one block of the host's memory: one copy takes it to a GPU (`views`).
        ids_T: token ids int64; unused ones are 0.
        positions_T: each token's position in its own pair, int64.
        tiles_P5: tiles of attention (`attention.packed_attention`), int32; unused ones are 0.
        parts_NS: tokens of each part of each stretch, int64, in the order of the tokens; the last has none.
        stretches_R2: each pair's own stretch and its prefix, int64; the last where it has none, or is beyond `rows`.
    """

    rows: np.ndarray
    buffer: Tensor
    ids_T: Tensor
    positions_T: Tensor
    tiles_P5: Tensor
    parts_NS: Tensor
    stretches_R2: Tensor

    @classmethod
    def empty(cls, rows: np.ndarray, size: int, parts: int, pinned: bool) -> "Pack":
        """One that no token stands in yet."""
        buffer = torch.zeros(sum(_lengths(size, parts)), dtype=torch.int64, pin_memory=pinned)
        return cls(rows, buffer, *views(buffer, size, parts))

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """What a packed expert takes."""
        return self.ids_T, self.positions_T, self.tiles_P5, self.parts_NS, self.stretches_R2


def views(buffer: Tensor, size: int, parts: int) -> tuple[Tensor, ...]:
    """`Pack.inputs` in a buffer, wherever it lies, of packs of so many tokens and parts per pair."""
    stretches, tiles = capacity(size)
    ids_T, positions_T, tiles_P5, parts_NS, stretches_R2 = torch.split(buffer, _lengths(size, parts))
    tiles_P5 = tiles_P5.view(torch.int32)[: 5 * tiles].view(tiles, 5)
    return ids_T, positions_T, tiles_P5, parts_NS.view(stretches + 1, parts), stretches_R2.view(stretches, 2)


def _lengths(size: int, parts: int) -> list[int]:
    """Of the inputs in a buffer, in units of 8 bytes."""
    stretches, tiles = capacity(size)
    return [size, size, -(-5 * tiles // 2), (stretches + 1) * parts, 2 * stretches]


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
        pack = Pack.empty(np.arange(start, stop), size, 1 if separator_id is None else 2, pinned)
        _fill(pack, own_ids, lengths[start:stop], prefix_R[start:stop], leads, separator_id)
        yield pack
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
    lead_R = np.repeat(first_pair, of_query)
    # Each token beside the one at its place in its query's first pair, or after that pair's end, where it counts not.
    at_T = np.arange(len(tokens.ids_T))
    same_T = tokens.ids_T[at_T + np.repeat(begins[lead_R] - begins, lengths)] == tokens.ids_T
    at_T[same_T] = len(at_T)
    differs_R = np.minimum.reduceat(at_T, begins) - begins
    shared_R = np.minimum(np.minimum(differs_R, lengths[lead_R]), lengths - 1)
    shared = np.minimum.reduceat(shared_R, first_pair)
    shared[(of_query == 1) | (shared < _SHORTEST)] = 0
    return np.repeat(shared, of_query), leads_R


def _fill(
    pack: Pack,
    own_ids: np.ndarray,
    lengths: np.ndarray,
    prefix: np.ndarray,
    leads: np.ndarray,
    separator_id: int | None,
) -> None:
    """Write pairs into an empty pack."""
    ids_T, positions_T, tiles_P5, parts_NS, stretches_R2 = (tensor.numpy() for tensor in pack.inputs)
    begins = lengths.cumsum() - lengths
    with_prefix = leads & (prefix > 0)
    own_stretch = (1 + with_prefix).cumsum() - 1
    before = own_stretch[with_prefix] - 1
    prefix_stretch = np.maximum.accumulate(np.where(with_prefix, own_stretch - 1, -1))
    stretches_R2[:] = len(stretches_R2)
    stretches_R2[: len(lengths), 0] = own_stretch
    stretches_R2[: len(lengths), 1] = np.where(prefix > 0, prefix_stretch, len(stretches_R2))

    def both(of_pair: np.ndarray, of_prefix: np.ndarray) -> np.ndarray:
        """One number per stretch, in their order."""
        values = np.empty(own_stretch[-1] + 1, dtype=np.int64)
        values[own_stretch] = of_pair
        values[before] = of_prefix[with_prefix]
        return values

    length_N, skipped_N = both(lengths - prefix, prefix), both(prefix, np.zeros_like(prefix))
    begin_N, pair_N = length_N.cumsum() - length_N, both(begins, begins)
    source_T = np.arange(length_N.sum()) + np.repeat(pair_N + skipped_N - begin_N, length_N)
    ids_T[: len(source_T)] = own_ids[source_T]
    positions_T[: len(source_T)] = source_T - np.repeat(pair_N, length_N)

    tiles_N = -(-length_N // TILE)
    tile = np.repeat(np.arange(len(length_N)), tiles_N)
    prefix_begin_N = np.where(skipped_N > 0, begin_N[np.repeat(prefix_stretch, 1 + with_prefix)], 0)
    columns_5N = np.stack([begin_N, length_N, tiles_N - tiles_N.cumsum(), prefix_begin_N, skipped_N])
    tiles_P5[: len(tile)] = columns_5N.T[tile]
    tiles_P5[: len(tile), 2] += np.arange(len(tile), dtype=np.int32)
    tiles_P5[: len(tile), 2] *= TILE

    parts_NS[: len(length_N), 0] = length_N
    if separator_id is not None:
        # Tokens before the first separator; all of them, where a cut took the separator away.
        at_T = np.arange(len(own_ids))
        at_T[own_ids != separator_id] = len(own_ids)
        query = np.minimum(np.minimum.reduceat(at_T, begins) - begins, lengths)
        query_N = both(np.maximum(query - prefix, 0), np.minimum(query, prefix))
        parts_NS[: len(length_N)] = np.stack([query_N, length_N - query_N], axis=1)
