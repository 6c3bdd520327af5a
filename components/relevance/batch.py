"""Offline batch scoring of many pairs: what a request-by-request server cannot do, because it must answer now.

Distinct pairs only are scored; distinct queries are routed at once; then, expert by expert (so that one expert's
weights are at work at a time), the pairs that chose it run in batches. The next pieces are tokenised and batched, and
the next expert's weights loaded, while this piece runs; an expert that was loaded stays. Fusion comes last, over all
pairs.

Shapes: n pairs, U distinct pairs, N experts, K chosen, D_i width of expert i.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd

from components.relevance.ahead import prepared_ahead

# Pairs that are prepared together: enough to make batches of, little enough to hold several pieces at once.
_PIECE = 4096


class PairEncoder(Protocol):
    """One expert, wherever it runs. What its batches and its room are made of is its own concern."""

    def open(self) -> None:
        """Load its weights; a second call does nothing. Called before `run`, while another expert may run, and from
        several threads where more than one piece is prepared at a time."""
        ...

    def prepare(self, markets: Sequence[str], queries: Sequence[str], titles: Sequence[str]) -> Any:
        """Pairs as tokens in batches that `run` takes; called in threads of their own."""
        ...

    def room(self, pairs: int) -> Any:
        """Zeros float32 (pairs, D) where it runs."""
        ...

    def run(self, batches: Any, rows: np.ndarray, room: Any) -> None:
        """Write the vectors of prepared pairs into those rows of the room."""
        ...


Route = Callable[[Sequence[str], Sequence[str]], tuple[np.ndarray, np.ndarray]]
Fuse = Callable[[Sequence[Any], np.ndarray], np.ndarray]
Normalise = Callable[[str], str]


@dataclass(frozen=True)
class BatchScorer:
    """The parts of a mixture, in the order they are called.

    Attributes:
        route: (markets, queries) of n queries -> (experts int64 (n, K), best first; mask float32 (n, N)).
        experts: in slot order.
        fuse: (one room (n, D_i) an expert, mask) -> relevance float32 (n,).
        ahead: pieces that are prepared at a time.
    """

    route: Route
    experts: Sequence[PairEncoder]
    fuse: Fuse
    ahead: int = 1

    def score(self, pairs: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Relevance float32 (n,) and chosen experts int64 (n, K) of n >= 1 `normal_pairs`."""
        inverse, distinct = _distinct(pairs, ["market", "query", "title"])
        query_of, queries = _distinct(distinct, ["market", "query"])
        experts_QK, mask_QN = self.route(queries["market"].tolist(), queries["query"].tolist())
        mask_UN = mask_QN[query_of]
        rooms = [expert.room(len(distinct)) for expert in self.experts]
        columns = [distinct[column].to_numpy(dtype=object) for column in ("market", "query", "title")]

        def prepare(piece: tuple[int, np.ndarray]) -> Any:
            place, rows = piece
            batches = self.experts[place].prepare(*(column[rows].tolist() for column in columns))
            self.experts[place].open()
            return batches

        pieces = [
            (place, rows[start : start + _PIECE])
            for place, rows in enumerate(np.flatnonzero(mask_N) for mask_N in mask_UN.T)
            for start in range(0, len(rows), _PIECE)
        ]
        for (place, rows), batches in prepared_ahead(prepare, pieces, self.ahead):
            self.experts[place].run(batches, rows, rooms[place])
        relevance_U = self.fuse(rooms, mask_UN)
        return relevance_U[inverse], experts_QK[query_of][inverse]


def normal_pairs(
    markets: Sequence[str],
    queries: Sequence[str],
    titles: Sequence[str],
    normalise_query: Normalise,
    normalise_title: Normalise,
) -> pd.DataFrame:
    """market, query, title of n raw pairs; each text is normalised once, however many pairs have it."""
    normal = {
        name: {text: normalise(text) for text in set(texts)}
        for name, texts, normalise in (("query", queries, normalise_query), ("title", titles, normalise_title))
    }
    columns = {name: [normal[name][text] for text in texts] for name, texts in (("query", queries), ("title", titles))}
    return pd.DataFrame({"market": list(markets), **columns})


def _distinct(frame: pd.DataFrame, columns: list[str]) -> tuple[np.ndarray, pd.DataFrame]:
    """(place of each row among the distinct ones, the distinct rows), in order of appearance."""
    codes = frame.groupby(columns, sort=False).ngroup().to_numpy()
    first = np.unique(codes, return_index=True)[1]
    return codes, frame.iloc[first].reset_index(drop=True)
