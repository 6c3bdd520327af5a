"""Candidates for a query: BM25 over a release's catalogue, one index per market."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import bm25s
import numpy as np
import pyarrow.compute as pc

from components.contracts.errors import BadInput
from components.contracts.text import MAX_QUERY_CHARS, normalise_query, too_long
from serving.release import open_release
from serving.search_tokens import exact_tokens, folded_tokens

# A field: a text's tokens.
Tokens = Callable[[str], Iterator[str]]


@dataclass(frozen=True)
class Item:
    """A retrieved catalogue item; a relevance-only release knows no price (NaN)."""

    item_id: str
    title: str
    price: float
    bm25: float


def retrieve(release: Path, market: str, query: str, n: int) -> list[Item]:
    """The n items of a market that match a query best, best first, equal scores by item id; fewer where few match.

    Raises:
        BadInput: not a release, the market is not served by it, or the query is blank, too long or no text.
    """
    _check(query)
    index = _market_index(release.resolve(), market)
    scores = index.titles.scores(query)
    found = np.flatnonzero(scores > 0)
    best = found[np.argsort(-scores[found], kind="stable")][:n]  # items are in id order
    return [Item(index.item_ids[row], index.texts[row], index.prices[row], float(scores[row])) for row in best]


class TitleIndex:
    """BM25 over n titles; a title's score is the sum over its fields (our choice, as tests/bench/README.md reports)."""

    def __init__(self, titles: Sequence[str], fields: Sequence[Tokens] = (exact_tokens, folded_tokens)) -> None:
        self._titles = len(titles)
        self._fields = [(tokens_of, _bm25(tokens_of, titles)) for tokens_of in fields]

    def scores(self, query: str) -> np.ndarray:
        """Of each title, float32 (n,); 0 where nothing of the query matches."""
        total = np.zeros(self._titles, dtype=np.float32)
        for tokens_of, bm25 in self._fields:
            tokens = list(dict.fromkeys(tokens_of(query)))
            if tokens and bm25 is not None:
                total += bm25.get_scores(tokens)
        return total


def _check(query: str) -> None:
    """Raise BadInput unless it is a query that a service would answer."""
    try:
        query.encode()
    except UnicodeEncodeError as error:
        raise BadInput(f"the query is not UTF-8 text: {query[:60]!r}") from error
    if too_long(query, normalise_query, MAX_QUERY_CHARS):
        raise BadInput(f"the query has {len(query)} characters, at most {MAX_QUERY_CHARS} in normal form")
    if not normalise_query(query):
        raise BadInput("the query is blank")


def _bm25(tokens_of: Tokens, titles: Sequence[str]) -> bm25s.BM25 | None:
    tokens = [list(tokens_of(title)) for title in titles]
    if not any(tokens):
        return None
    bm25 = bm25s.BM25()
    bm25.index(tokens, show_progress=False)
    return bm25


@dataclass(frozen=True)
class _Index:
    """BM25 over one market; items in id order."""

    titles: TitleIndex
    item_ids: list[str]
    texts: list[str]
    prices: list[float]


@lru_cache(maxsize=16)
def _market_index(release: Path, market: str) -> _Index:
    opened = open_release(release)
    if market not in opened.markets:
        raise BadInput(f"market {market!r} is not served by release {opened.name} ({', '.join(opened.markets)})")
    catalogue = opened.catalogue()
    items = catalogue.filter(pc.equal(catalogue["market"], market)).sort_by("item_id")
    if items.num_rows == 0:
        raise BadInput(f"release {opened.name} has no items of market {market}")
    texts = items["title"].to_pylist()
    prices = [math.nan if price is None else price for price in items["price"].to_pylist()]
    return _Index(TitleIndex(texts), items["item_id"].to_pylist(), texts, prices)
