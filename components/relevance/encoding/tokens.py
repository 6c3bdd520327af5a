"""Pairs to tokens and queries to trigrams, in this process or in several: a GPU is faster than one Python."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from components.contracts.text import query_ngrams
from components.relevance.encoding.pair_tokenizer import PairTokenizer
from components.relevance.model.spec import ExpertSpec
from components.relevance.packed.tokens import Tokens
from components.relevance.workers import worker_pool

# Pairs, or queries, that a worker takes at a time: few, so that all have work and the first batch is soon ready.
_ROWS = 512
# A worker's own, in the experts' order.
_loaded: list[PairTokenizer] = []


class TokenisingWorkers:
    """Processes that tokenise pairs for several experts, and queries for a router; they end with this object.

    Args:
        experts: each one's folder and spec.
        processes: number of processes, which start at once.
    """

    def __init__(self, experts: Sequence[tuple[Path, ExpertSpec]], processes: int) -> None:
        self._pool = worker_pool(processes, _load, list(experts))
        for _ in range(processes):
            self._pool.submit(_tokenise, 0, [], [], [])

    def tokenise(self, slot: int, markets: Sequence[str], queries: Sequence[str], titles: Sequence[str]) -> Tokens:
        """Tokens of n >= 1 normalised pairs for the expert of that slot; several threads may call."""
        parts = [self._pool.submit(_tokenise, slot, markets[cut], queries[cut], titles[cut]) for cut in _cuts(markets)]
        return Tokens.joined([part.result() for part in parts])

    def ngrams(self, queries: Sequence[str], buckets: int, max_ngrams: int) -> np.ndarray:
        """`query_ngrams` of n >= 1 normalised queries."""
        parts = [self._pool.submit(query_ngrams, queries[cut], buckets, max_ngrams) for cut in _cuts(queries)]
        return np.concatenate([part.result() for part in parts])


def _cuts(rows: Sequence[str]) -> Iterator[slice]:
    return (slice(start, start + _ROWS) for start in range(0, len(rows), _ROWS))


def _load(experts: Sequence[tuple[Path, ExpertSpec]]) -> None:
    # One core per process: the other cores have their own.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    _loaded.extend(PairTokenizer.load(folder, spec) for folder, spec in experts)


def _tokenise(slot: int, markets: Sequence[str], queries: Sequence[str], titles: Sequence[str]) -> Tokens:
    return _loaded[slot].tokens(markets, queries, titles)
