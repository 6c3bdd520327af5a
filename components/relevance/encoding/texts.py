"""What experts read: pairs, and how many of them were too long to be read whole."""

from collections import Counter
from collections.abc import Iterable, Sequence
from threading import Lock

import numpy as np

from components.contracts.text import normalise_query, normalise_title
from components.contracts.tools.distinct import map_distinct

# Market, query and title.
Pair = tuple[str, str, str]
# Expert -> market -> how many pairs lost tokens "of_query" and "of_item", and how many there were ("pairs").
CutTexts = dict[str, dict[str, dict[str, int]]]


def normal_pairs(markets: Iterable[str], queries: Iterable[str], titles: Iterable[str]) -> list[Pair]:
    """n pairs in normal form."""
    normal = map_distinct(normalise_query, queries), map_distinct(normalise_title, titles)
    return list(zip(markets, *normal, strict=True))


class CutCounts:
    """Counts what tokenizers left out of pairs; several threads may call."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str, str]] = Counter()
        self._lock = Lock()

    def __call__(self, expert: str, markets: Sequence[str], cut_R2: np.ndarray) -> None:
        """Add an expert's pairs: whether tokens of query and item were left out (`Tokens.cut_R2`)."""
        market_R = np.asarray(markets, dtype=object)
        with self._lock:
            for market in set(markets):
                own_R2 = cut_R2[market_R == market]
                figures = {"pairs": len(own_R2), "of_query": own_R2[:, 0].sum(), "of_item": own_R2[:, 1].sum()}
                self._counts.update({(expert, market, what): int(number) for what, number in figures.items()})

    def of_markets(self) -> CutTexts:
        """What was counted so far."""
        cut: CutTexts = {}
        for (expert, market, what), number in sorted(self._counts.items()):
            cut.setdefault(expert, {}).setdefault(market, {})[what] = number
        return cut

    def __str__(self) -> str:
        """In one line: experts and markets where something was cut."""
        said = [
            f"{expert} in {market} {own['of_query']} queries and {own['of_item']} items of {own['pairs']} pairs"
            for expert, markets in self.of_markets().items()
            for market, own in markets.items()
            if own["of_query"] or own["of_item"]
        ]
        return "; ".join(said) or "none"
