"""Pairs to tokens, a query's part and an item's part each tokenised once.

Shape suffixes: R pairs, T tokens.
"""

from array import array
from collections.abc import Sequence
from itertools import chain, pairwise, repeat

import numpy as np
from tokenizers import Tokenizer

from components.contracts.text import format_normal_pair
from components.relevance.packed.packs import Tokens

# Items whose texts a server, or a process that tokenises, keeps; some 20 MB.
ITEMS_KEPT = 65_536
# How tokenizers write a space inside a piece: as it is, as SentencePiece does, as byte-level ones do.
_SPACES = (" ", "▁", "Ġ")
# What a tokenizer that says it keeps parts apart is tried with: scripts, digits, marks, a control token.
_PROBES = ("a", "Case HP 5", "5.5", "เคส", "điện thoại", "\u0301x", "(x)", "</s>", "手機")


class PairTokenizer:
    """An expert's tokenizer for normalised pairs in its template.

    Pairs share parts: those of a request have one query, and the same items come in request after request. Where the
    tokenizer never joins an item with what stands before it, parts are tokenised apart and an item's tokens are kept,
    with the same ids as of whole texts (our choice). Elsewhere every text is tokenised whole.

    Args:
        tokenizer: without padding, cutting long texts (`padded.load_tokenizer`).
        template: the expert's input text, with {market}, {query} and {item}.
        kept: items whose tokens are kept at least; at most twice as many are.

    Attributes:
        apart: whether parts are tokenised apart.
    """

    def __init__(self, tokenizer: Tokenizer, template: str, kept: int = ITEMS_KEPT) -> None:
        self._tokenizer = tokenizer
        self._template = template
        assert tokenizer.truncation is not None, "cuts long texts"
        before, _, after = template.partition("{item}")
        self._space = " " if before.endswith(" ") else ""
        self._before = before.removesuffix(" ")
        self._kept = _Kept(kept)
        self._head, self._tail = self._around()
        # Bytes that a pair's parts and what stands before them may take.
        self._most = tokenizer.truncation["max_length"] * np.dtype(np.int32).itemsize - len(self._tail)
        self.apart = not after and "{query}" in before and self._keeps_apart()

    def tokens(self, markets: Sequence[str], queries: Sequence[str], titles: Sequence[str]) -> Tokens:
        """Tokens of n >= 1 normalised pairs."""
        runs_R = query_runs(markets, queries)
        if not self.apart:
            pairs = zip(markets, queries, titles, strict=True)
            texts = [format_normal_pair(self._template, *pair) for pair in pairs]
            return Tokens.of([encoding.ids for encoding in self._tokenizer.encode_batch_fast(texts)], runs_R)
        asked = list(dict.fromkeys(zip(markets, queries, strict=True)))
        befores = self._encode([self._before.format(market=market, query=query) for market, query in asked])
        before = {pair: (self._head + ids)[: self._most] for pair, ids in zip(asked, befores, strict=True)}
        first = [before[pair] for pair in zip(markets, queries, strict=True)]
        last = self._items(titles)
        lengths_R = np.fromiter(map(len, first), np.int64, len(first)) + np.fromiter(
            map(len, last), np.int64, len(last)
        )
        for row in np.flatnonzero(lengths_R > self._most):
            last[row] = last[row][: self._most - len(first[row])]
        ids_T = np.frombuffer(b"".join(chain.from_iterable(zip(first, last, repeat(self._tail)))), dtype=np.int32)
        lengths_R = (np.minimum(lengths_R, self._most) + len(self._tail)) // ids_T.itemsize
        return Tokens(ids_T, lengths_R, runs_R)

    def _items(self, titles: Sequence[str]) -> list[bytes]:
        """Tokens of each title."""
        items = {title: self._kept.get(title) for title in dict.fromkeys(titles)}
        missing = [title for title, ids in items.items() if ids is None]
        for title, ids in zip(missing, self._encode([self._space + title for title in missing]), strict=True):
            self._kept.put(title, ids)
            items[title] = ids
        return [items[title] or b"" for title in titles]

    def _encode(self, texts: list[str]) -> list[bytes]:
        """Tokens of each text, without the special ones around a pair."""
        encodings = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False) if texts else []
        return [_packed(encoding.ids) for encoding in encodings]

    def _around(self) -> tuple[bytes, bytes]:
        """Special tokens before and after a text."""
        encoding = self._tokenizer.encode(self._template)
        ids, text = encoding.ids, np.flatnonzero(np.array(encoding.special_tokens_mask) == 0)
        return (_packed(ids[: text[0]]), _packed(ids[text[-1] + 1 :])) if len(text) else (_packed(ids), b"")

    def _keeps_apart(self) -> bool:
        """Whether tokens never reach from what stands before an item into it.

        They cannot where a special token stands before it, or a space that no piece of the vocabulary joins with the
        character before. Then a few texts are tried: a tokenizer may also treat the beginning of a text in its own way.
        """
        added = [token.content for token in self._tokenizer.get_added_tokens_decoder().values() if token.special]
        if self._space:
            joined = [self._before[-1:] + space for space in _SPACES]
            pieces = self._tokenizer.get_vocab(with_added_tokens=False)
            if any(joint in piece for joint in joined for piece in pieces):
                return False
        elif not self._before.endswith(tuple(added)):
            return False
        before = self._before.format(market="TH", query="x")
        whole = self._encode([before + self._space + probe for probe in _PROBES])
        (first,), items = self._encode([before]), self._encode([self._space + probe for probe in _PROBES])
        return all((first + item)[: self._most] == text[: self._most] for item, text in zip(items, whole, strict=True))


class _Kept:
    """Items' tokens, the latest asked for; several threads may call.

    Two generations: what is asked for moves to the younger, and when that is full the older goes.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._young: dict[str, bytes] = {}
        self._old: dict[str, bytes] = {}

    def get(self, title: str) -> bytes | None:
        ids = self._young.get(title)
        if ids is None and (ids := self._old.get(title)) is not None:
            self.put(title, ids)
        return ids

    def put(self, title: str, ids: bytes) -> None:
        if len(self._young) >= self._most:
            self._young, self._old = {}, self._young
        self._young[title] = ids


def query_runs(markets: Sequence[str], queries: Sequence[str]) -> np.ndarray:
    """int64 (n,), equal for pairs that follow each other and are of one market and query (`Tokens.queries_R`)."""
    asked = list(zip(markets, queries, strict=True))
    return np.cumsum([0, *(one != before for before, one in pairwise(asked))], dtype=np.int64)[: len(asked)]


def _packed(ids: Sequence[int]) -> bytes:
    """Ids as int32 end to end: thousands of such parts are joined faster than arrays are."""
    return array("i", ids).tobytes()
