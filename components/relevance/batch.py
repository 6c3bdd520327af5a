"""Offline batch scoring of many pairs: what a request-by-request server cannot do, because it must answer now.

Distinct pairs only are scored; distinct queries are routed at once; then, expert by expert (so that one expert's
weights are read at a time), the pairs that chose it run in batches of similar length. Tokens of the next piece are
prepared, and the next expert is opened, while this piece runs. Fusion comes last, over all pairs.

Shapes: n pairs, U distinct pairs, N experts, K chosen, D_i width of expert i, B pairs of T tokens in a batch.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd

from components.relevance.encoder import length_batches, pad

# Texts that are tokenised ahead: enough to keep batches of similar length, little enough to hold two pieces at once.
_PIECE = 2048


class PairEncoder(Protocol):
    """One expert, opened when it is first asked for anything."""

    @property
    def dim(self) -> int:
        """Width of its vectors."""
        ...

    @property
    def pad_id(self) -> int:
        """Token id that fills batches."""
        ...

    def open(self) -> None:
        """Load its weights; a second call does nothing. Called before `run`, while another expert may run."""
        ...

    def tokenise(self, markets: Sequence[str], queries: Sequence[str], titles: Sequence[str]) -> list[list[int]]:
        """Token ids of n pairs."""
        ...

    def run(self, ids_BT: np.ndarray, mask_BT: np.ndarray) -> np.ndarray:
        """Vectors float32 (B, D) of padded token ids and their mask, int64 (B, T). Called from several threads."""
        ...


Route = Callable[[Sequence[str], Sequence[str]], tuple[np.ndarray, np.ndarray]]
Fuse = Callable[[Sequence[np.ndarray], np.ndarray], np.ndarray]


@dataclass(frozen=True)
class BatchScorer:
    """The parts of a mixture, in the order they are called.

    Attributes:
        route: (markets, queries) of n queries -> (experts int64 (n, K), best first; mask float32 (n, N)).
        experts: in slot order.
        fuse: (one float32 (n, D_i) an expert, mask) -> relevance float32 (n,).
        batch_tokens: padded tokens a batch at most.
        workers: batches that run side by side.
    """

    route: Route
    experts: Sequence[PairEncoder]
    fuse: Fuse
    batch_tokens: int
    workers: int

    def score(self, pairs: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Relevance float32 (n,) and chosen experts int64 (n, K) of n >= 1 pairs: market, query, title."""
        inverse, distinct = _distinct(pairs, ["market", "query", "title"])
        query_of, queries = _distinct(distinct, ["market", "query"])
        experts_QK, mask_QN = self.route(queries["market"].tolist(), queries["query"].tolist())
        mask_UN = mask_QN[query_of]
        vectors = [np.zeros((len(distinct), expert.dim), dtype=np.float32) for expert in self.experts]
        with ThreadPoolExecutor(self.workers) as pool:
            for place, rows, batches in self._prepared(distinct, mask_UN):
                run = self.experts[place].run
                done = pool.map(lambda batch, run=run: run(batch.ids_BT, batch.mask_BT), batches)
                for batch, vectors_BD in zip(batches, done, strict=True):
                    vectors[place][rows[batch.rows]] = vectors_BD
        relevance_U = self.fuse(vectors, mask_UN)
        return relevance_U[inverse], experts_QK[query_of][inverse]

    def _prepared(self, pairs: pd.DataFrame, mask_UN: np.ndarray) -> Iterator[tuple[int, np.ndarray, list["_Batch"]]]:
        """(expert, rows, batches) of every piece; the next one is prepared while the caller works on this one."""
        pieces = [
            (place, rows[start : start + _PIECE])
            for place, rows in enumerate(np.flatnonzero(mask_N) for mask_N in mask_UN.T)
            for start in range(0, len(rows), _PIECE)
        ]

        def prepare(place: int, rows: np.ndarray) -> list[_Batch]:
            expert, chosen = self.experts[place], pairs.iloc[rows]
            ids = expert.tokenise(*(chosen[column].tolist() for column in ("market", "query", "title")))
            expert.open()
            return [
                _Batch(batch, *(tensor.numpy() for tensor in pad([ids[row] for row in batch], expert.pad_id)))
                for batch in length_batches([len(tokens) for tokens in ids], self.batch_tokens)
            ]

        with ThreadPoolExecutor(1) as ahead:
            future = ahead.submit(prepare, *pieces[0]) if pieces else None
            for number, (place, rows) in enumerate(pieces):
                assert future is not None
                batches = future.result()
                following = pieces[number + 1 : number + 2]
                future = ahead.submit(prepare, *following[0]) if following else None
                yield place, rows, batches


@dataclass(frozen=True)
class _Batch:
    """Rows of a piece, and their padded tokens."""

    rows: np.ndarray
    ids_BT: np.ndarray
    mask_BT: np.ndarray


def _distinct(frame: pd.DataFrame, columns: list[str]) -> tuple[np.ndarray, pd.DataFrame]:
    """(place of each row among the distinct ones, the distinct rows), in order of appearance."""
    codes = frame.groupby(columns, sort=False).ngroup().to_numpy()
    first = np.unique(codes, return_index=True)[1]
    return codes, frame.iloc[first].reset_index(drop=True)
