"""The lexical expert: what a query and a title share as strings, without a language model.

TF-IDF of the character 2- to 4-grams of each word, and a logistic regression on query, title and their cosine. One
function for training, offline scoring and serving; it needs numpy (1 or 2) alone, and its file holds no pickle.

Shape suffixes: n pairs, V n-grams known.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

# The shortest and the longest n-grams.
_SHORTEST, _LONGEST = 2, 4
# Titles and queries whose terms are kept: the same ones are asked for again and again.
_KEPT = 65_536

# n-gram -> its weight in a text's unit vector; and what the text adds to the logit as a query and as a title.
_Terms = tuple[dict[str, float], float, float]


def ngrams(text: str) -> list[str]:
    """n-grams of a normalised text's words, each with a space on both sides; a shorter word is one of its own."""
    found = []
    for word in text.lower().split():
        padded = f" {word} "
        for size in range(_SHORTEST, _LONGEST + 1):
            found += [padded[start : start + size] for start in range(max(1, len(padded) - size + 1))]
            if len(padded) <= size:
                break
    return found


@dataclass(frozen=True, eq=False)
class Lexical:
    """A fitted lexical expert.

    Attributes:
        ngrams_V: the n-grams it knows.
        idf_V: their inverse document frequencies, float32.
        query_V, title_V: what each adds to the logit in a query and in a title, float32.
        pair_2: what the cosine adds, and the intercept, float32.
    """

    ngrams_V: np.ndarray
    idf_V: np.ndarray
    query_V: np.ndarray
    title_V: np.ndarray
    pair_2: np.ndarray

    @classmethod
    def silent(cls) -> "Lexical":
        """One that knows nothing: its logits are 0."""
        none, nothing = np.empty(0, dtype="<U4"), np.empty(0, dtype=np.float32)
        return cls(none, nothing, nothing, nothing, np.zeros(2, dtype=np.float32))

    def logits(self, queries: Sequence[str], titles: Sequence[str]) -> np.ndarray:
        """float32 (n,) of n pairs in normal form."""
        found = np.zeros(len(queries), dtype=np.float32)
        if not len(self.ngrams_V):
            return found
        cosine, intercept = self.pair_2.tolist()
        for row, (query, title) in enumerate(zip(queries, titles, strict=True)):
            in_query, of_query, _ = self._terms(query)
            in_title, _, of_title = self._terms(title)
            shared = sum(weight * in_title.get(ngram, 0.0) for ngram, weight in in_query.items())
            found[row] = of_query + of_title + cosine * shared + intercept
        return found

    def save(self, path: Path) -> None:
        """Write as .npz."""
        np.savez(path, **{name: getattr(self, name) for name in self.__dataclass_fields__})

    @classmethod
    def load(cls, path: Path) -> "Lexical":
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as file:
            return cls(**{name: file[name] for name in cls.__dataclass_fields__})

    @cached_property
    def _known(self) -> dict[str, tuple[float, float, float]]:
        columns = (self.idf_V.tolist(), self.query_V.tolist(), self.title_V.tolist())
        return dict(zip(self.ngrams_V.tolist(), zip(*columns, strict=True), strict=True))

    @cached_property
    def _terms(self) -> Callable[[str], _Terms]:
        return lru_cache(_KEPT)(self._read)

    def _read(self, text: str) -> _Terms:
        counts = {ngram: count for ngram, count in Counter(ngrams(text)).items() if ngram in self._known}
        weights = {ngram: (1 + math.log(count)) * self._known[ngram][0] for ngram, count in counts.items()}
        norm = math.sqrt(sum(weight * weight for weight in weights.values())) or 1.0
        unit = {ngram: weight / norm for ngram, weight in weights.items()}
        of_query, of_title = (sum(w * self._known[ngram][place] for ngram, w in unit.items()) for place in (1, 2))
        return unit, of_query, of_title
