"""What an expert reads of a pair."""

from collections.abc import Iterable

from components.contracts.text import format_pair
from components.relevance.model.spec import ExpertSpec


def pair_texts(spec: ExpertSpec, markets: Iterable[str], queries: Iterable[str], titles: Iterable[str]) -> list[str]:
    """An expert's input texts of n pairs."""
    return [
        format_pair(spec.template, market, query, title)
        for market, query, title in zip(markets, queries, titles, strict=True)
    ]
