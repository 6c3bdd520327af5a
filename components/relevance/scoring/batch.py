"""Offline batch scoring of many pairs: what a request-by-request server cannot do, because it must answer now.

Distinct pairs only are scored; distinct queries are routed at once; then, expert by expert (so that one expert's
weights are at work at a time), the pairs that chose it run in batches. The next pieces are tokenised and batched, and
the next expert's weights loaded, while this piece runs; an expert that was loaded stays. Fusion comes last, over all
pairs of a shard.

Shape suffixes: n pairs, U distinct pairs, Q distinct queries, N experts, K chosen, D_i width of expert i.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd

from components.contracts.tools.distinct import map_distinct
from components.relevance.ahead import prepared_ahead

# Pairs that are prepared together: enough to make batches of, little enough to hold several pieces at once.
_PIECE = 8192


class PairEncoder(Protocol):
    """One expert, wherever it runs. What its batches and its buffer are made of is its own concern."""

    def open(self) -> None:
        """Load its weights; a second call does nothing. Called before `run`, while another expert may run, and from
        several threads where more than one piece is prepared at a time."""
        ...

    def prepare(self, markets: Sequence[str], queries: Sequence[str], titles: Sequence[str]) -> Any:
        """Pairs as tokens in batches that `run` takes; called in threads of their own."""
        ...

    def buffer(self, pairs: int) -> Any:
        """Zeros float32 (pairs, D) where it runs; called in a thread of its own."""
        ...

    def run(self, batches: Any, rows: np.ndarray, buffer: Any) -> None:
        """Write the vectors of prepared pairs into those rows of the buffer."""
        ...


Route = Callable[[Sequence[str], Sequence[str]], tuple[np.ndarray, np.ndarray]]
Lexical = Callable[[Sequence[str], Sequence[str]], np.ndarray]
Fuse = Callable[[Sequence[Any], np.ndarray, np.ndarray], np.ndarray]
Normalise = Callable[[str], str]
# markets, queries and titles of n >= 1 raw pairs
RawPairs = tuple[Sequence[str], Sequence[str], Sequence[str]]
# relevance float32 (n,), and chosen experts int64 (n, K), best first
Scored = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class BatchMixture:
    """The parts of a mixture, in the order they are called.

    Attributes:
        normalise_query, normalise_title: functions that normalise the texts which router and experts read.
        route: (markets, queries) of n queries -> (experts int64 (n, K), best first; mask float32 (n, N)); called in a
            thread of its own.
        experts: encoders of pairs, in slot order.
        lexical: (queries, titles) of n normalised pairs -> lexical logits float32 (n,); called in that thread too.
        fuse: (one buffer (n, D_i) per expert, mask, lexical logits) -> relevance float32 (n,).
        ahead: number of pieces that are prepared at a time.
    """

    normalise_query: Normalise
    normalise_title: Normalise
    route: Route
    experts: Sequence[PairEncoder]
    lexical: Lexical
    fuse: Fuse
    ahead: int = 1

    def score(self, markets: Sequence[str], queries: Sequence[str], titles: Sequence[str]) -> Scored:
        """Relevance and chosen experts of n >= 1 raw pairs."""
        (scored,) = self.score_shards([(markets, queries, titles)])
        return scored

    def score_shards(self, shards: Iterable[RawPairs]) -> Iterator[Scored]:
        """The same, shard by shard, of more pairs than fit into memory.

        While a shard runs, the next one is routed and its first pieces are prepared: experts wait for the first alone.
        """
        plans = (plan for _, plan in prepared_ahead(self._plan, shards))
        pieces = (piece for plan in plans for piece in plan.pieces())
        for piece, batches in prepared_ahead(self._prepare, pieces, self.ahead):
            plan = piece.plan
            self.experts[piece.slot].run(batches, piece.rows, plan.buffers[piece.slot])
            if piece.last:
                relevance_U = self.fuse(plan.buffers, plan.mask_UN, plan.lexical_U)
                yield relevance_U[plan.inverse_n], plan.chosen_nK

    def _plan(self, raw: RawPairs) -> "_Plan":
        markets, queries, titles = raw
        pairs = pd.DataFrame(
            {
                "market": list(markets),
                "query": map_distinct(self.normalise_query, queries),
                "title": map_distinct(self.normalise_title, titles),
            }
        )
        inverse_n, distinct = _distinct(pairs, ["market", "query", "title"])
        query_U, asked = _distinct(distinct, ["market", "query"])
        chosen_QK, mask_QN = self.route(asked["market"].tolist(), asked["query"].tolist())
        return _Plan(
            columns=[distinct[name].to_numpy(dtype=object) for name in ("market", "query", "title")],
            buffers=[expert.buffer(len(distinct)) for expert in self.experts],
            mask_UN=mask_QN[query_U],
            lexical_U=self.lexical(distinct["query"].tolist(), distinct["title"].tolist()),
            query_U=query_U,
            inverse_n=inverse_n,
            chosen_nK=chosen_QK[query_U][inverse_n],
        )

    def _prepare(self, piece: "_Piece") -> Any:
        expert = self.experts[piece.slot]
        batches = expert.prepare(*(column[piece.rows].tolist() for column in piece.plan.columns))
        expert.open()
        return batches


@dataclass(frozen=True)
class _Plan:
    """What is known of a shard before an expert runs.

    Attributes:
        columns: market, query and title of the U distinct pairs.
        buffers: one buffer per expert, for its vectors of these pairs.
        mask_UN: the experts that they are routed to.
        lexical_U: their lexical logits.
        query_U: their queries' numbers.
        inverse_n: each pair's index among the distinct ones.
        chosen_nK: each pair's experts, best first.
    """

    columns: Sequence[np.ndarray]
    buffers: Sequence[Any]
    mask_UN: np.ndarray
    lexical_U: np.ndarray
    query_U: np.ndarray
    inverse_n: np.ndarray
    chosen_nK: np.ndarray

    def pieces(self) -> "list[_Piece]":
        """The work, expert by expert, pairs of a query together: an expert may read what they share once."""
        order_U = np.argsort(self.query_U, kind="stable")
        cuts = [
            (slot, rows[start : start + _PIECE])
            for slot, rows in enumerate(order_U[mask_U[order_U] > 0] for mask_U in self.mask_UN.T)
            for start in range(0, len(rows), _PIECE)
        ]
        return [_Piece(self, slot, rows, number == len(cuts)) for number, (slot, rows) in enumerate(cuts, start=1)]


class _Piece(NamedTuple):
    """Distinct pairs of a plan that the expert of that slot reads together."""

    plan: _Plan
    slot: int
    rows: np.ndarray
    last: bool


def _distinct(frame: pd.DataFrame, columns: list[str]) -> tuple[np.ndarray, pd.DataFrame]:
    """(index of each row among the distinct ones, the distinct rows), in order of appearance."""
    codes = frame.groupby(columns, sort=False).ngroup().to_numpy()
    first = np.unique(codes, return_index=True)[1]
    return codes, frame.iloc[first].reset_index(drop=True)
