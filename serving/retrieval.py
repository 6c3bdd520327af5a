"""Candidates for a query: BM25 over a release's catalogue, one index per market."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import bm25s
import pyarrow.compute as pc

from components.contracts.errors import BadInput
from components.contracts.text import normalise_query
from serving.release import open_release

# Thai, Lao, Myanmar, Khmer, kana and Han: written without spaces between words. Their vowel signs are no `\w`.
_UNSPACED = "\u0e00-\u0e7f\u0e80-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_RUN = re.compile(f"([{_UNSPACED}]+)|((?:(?![{_UNSPACED}])\\w)+)")
_GRAM = 3


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
        BadInput: not a release, or the market is not served by it.
    """
    index = _market_index(release.resolve(), market)
    tokens = list(dict.fromkeys(tokenise(query)))
    if not tokens:
        return []
    scores = index.bm25.get_scores(tokens)
    order = sorted((row for row in range(len(scores)) if scores[row] > 0), key=lambda row: (-scores[row], row))
    return [Item(index.item_ids[row], index.titles[row], index.prices[row], float(scores[row])) for row in order[:n]]


def tokenise(text: str) -> Iterator[str]:
    """Words of the normalised text; runs of an unspaced script as overlapping character trigrams (our choice)."""
    for unspaced, word in _RUN.findall(normalise_query(text)):
        if len(unspaced) > _GRAM:
            yield from (unspaced[start : start + _GRAM] for start in range(len(unspaced) - _GRAM + 1))
        else:
            yield unspaced or word


@dataclass(frozen=True)
class _Index:
    """BM25 over one market; items in id order."""

    bm25: bm25s.BM25
    item_ids: list[str]
    titles: list[str]
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
    titles = items["title"].to_pylist()
    bm25 = bm25s.BM25()
    bm25.index([list(tokenise(title)) for title in titles], show_progress=False)
    prices = [float("nan") if price is None else price for price in items["price"].to_pylist()]
    return _Index(bm25, items["item_id"].to_pylist(), titles, prices)
