"""Pairs to tokens, a query's part and an item's part each tokenised once.

Shape suffixes: R pairs, T tokens.
"""

from collections.abc import Mapping, Sequence
from itertools import chain, pairwise, repeat
from pathlib import Path
from string import Formatter
from typing import Self

import numpy as np
from tokenizers import Tokenizer

from components.contracts.errors import BadInput
from components.contracts.tools.distinct import map_distinct
from components.relevance.encoding.control_tokens import ControlTokens
from components.relevance.encoding.kept_tokens import PROBES, SPACES, Kept, WordTokens, as_bytes
from components.relevance.model.spec import ExpertSpec
from components.relevance.packed.tokens import Tokens

# Items whose texts a server, or a process that tokenises, keeps; some 20 MB.
ITEMS_KEPT = 65_536
_BYTES = np.dtype(np.int32).itemsize
# Tokens that a template must leave to a query and an item together.
_LEAST_ROOM = 4
# Of a text's tokens that are kept: one in so many from its end.
_FROM_END = 4


class PairTokenizer:
    """An expert's tokenizer for normalised pairs in its template.

    Pairs share parts: those of a request have one query, and the same items come in request after request. Where the
    tokenizer never joins an item with what stands before it, parts are tokenised apart and an item's tokens are kept,
    with the same ids as of whole texts (our choice), put together from its words' where those are kept apart, too.
    Elsewhere every text is tokenised whole.

    A pair that is longer than `max_tokens` loses tokens of its query and its item alone, the longer one first, so that
    an item keeps half of the room at least, whatever the query. Each keeps its beginning and its end: titles that begin
    alike differ there, in sizes and colours (our choice).

    Args:
        tokenizer: without padding and truncation (`load`).
        template: the expert's input text, with {market}, {query} and {item}.
        max_tokens: most tokens of a pair, special ones included.
        kept: items whose tokens are kept at least, and words; at most twice as many are.

    Attributes:
        apart: whether parts are tokenised apart.

    Raises:
        BadInput: the template leaves next to no room.
    """

    def __init__(self, tokenizer: Tokenizer, template: str, max_tokens: int, kept: int = ITEMS_KEPT) -> None:
        self._tokenizer = tokenizer
        self._template = template
        assert tokenizer.truncation is None, "queries and items are cut here"
        self._controls = ControlTokens(tokenizer)
        before, _, after = template.partition("{item}")
        self._space = " " if before.endswith(" ") else ""
        self._before = before.removesuffix(" ")
        self._kept, self._words = Kept(kept), WordTokens(tokenizer, kept)
        self._head, self._tail = self._around()
        self._max_tokens = max_tokens
        fixed = len(tokenizer.encode(_formatted(template, market="ID", query="", item="")[0]).ids)
        if max_tokens - fixed < _LEAST_ROOM:
            raise BadInput(f"template {template!r} takes {fixed} of {max_tokens} tokens; raise max_tokens")
        # Bytes that a pair's parts and what stands before them may take.
        self._most = max_tokens * _BYTES - len(self._tail)
        self.apart = not after and "{query}" in before and self._keeps_apart()

    @classmethod
    def load(cls, folder: Path, spec: ExpertSpec) -> Self:
        """Of an expert's folder."""
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return cls(tokenizer, spec.template, spec.max_tokens)

    def of_texts(self, texts: Sequence[str]) -> Tokens:
        """Tokens of n single texts, in no template; one that is too long keeps its ends, too."""
        ids = [
            encoding.ids for encoding in self._tokenizer.encode_batch_fast(map_distinct(self._controls.broken, texts))
        ]
        special = len(self._head) // _BYTES, len(self._tail) // _BYTES
        for row, own in enumerate(ids):
            if len(own) > self._max_tokens:
                whole = slice(special[0], len(own) - special[1])
                ids[row] = _cut(np.array(own), slice(0, 0), whole, self._max_tokens)[0].tolist()
        return Tokens.of(ids)

    def tokens(self, markets: Sequence[str], queries: Sequence[str], titles: Sequence[str]) -> Tokens:
        """Tokens of n >= 1 normalised pairs."""
        queries = map_distinct(self._controls.broken, queries)
        runs_R = query_runs(markets, queries)
        if not self.apart:
            return self._of_whole_texts(markets, queries, map_distinct(self._controls.broken, titles), runs_R)
        asked = list(dict.fromkeys(zip(markets, queries, strict=True)))
        befores = self._words.of_whole([self._before.format(market=market, query=query) for market, query in asked])
        before = {pair: self._head + ids for pair, ids in zip(asked, befores, strict=True)}
        first = [before[pair] for pair in zip(markets, queries, strict=True)]
        last = self._items(titles)
        lengths_R = np.fromiter(map(len, first), np.int64, len(first))
        lengths_R += np.fromiter(map(len, last), np.int64, len(last))
        cut_R2 = np.zeros((len(first), 2), dtype=bool)
        for row in np.flatnonzero(lengths_R > self._most).tolist():
            own = np.frombuffer(first[row] + last[row], dtype=np.int32)
            query, item = self._query_place(markets[row], queries[row]), slice(len(first[row]) // _BYTES, len(own))
            ids, cut_R2[row] = _cut(own, query, item, self._most // _BYTES)
            first[row], last[row] = ids.tobytes(), b""
            lengths_R[row] = len(first[row])
        ids_T = np.frombuffer(b"".join(chain.from_iterable(zip(first, last, repeat(self._tail)))), dtype=np.int32)
        return Tokens(ids_T, (lengths_R + len(self._tail)) // _BYTES, runs_R, cut_R2)

    def _of_whole_texts(
        self, markets: Sequence[str], queries: Sequence[str], titles: Sequence[str], runs_R: np.ndarray
    ) -> Tokens:
        pairs = zip(markets, queries, titles, strict=True)
        texts = [_formatted(self._template, market=m, query=q, item=t) for m, q, t in pairs]
        ids = [encoding.ids for encoding in self._tokenizer.encode_batch_fast([text for text, _ in texts])]
        cut_R2 = np.zeros((len(ids), 2), dtype=bool)
        for row, (text, places) in enumerate(texts):
            if len(ids[row]) > self._max_tokens:
                ids[row], cut_R2[row] = self._cut_whole(text, places)
        tokens = Tokens.of(ids, runs_R)
        return Tokens(tokens.ids_T, tokens.lengths_R, runs_R, cut_R2)

    def _cut_whole(self, text: str, places: Mapping[str, slice]) -> tuple[list[int], tuple[bool, bool]]:
        encoding = self._tokenizer.encode(text)
        query, item = (_place(encoding.offsets, places.get(name, slice(0, 0))) for name in ("query", "item"))
        ids, cut = _cut(np.array(encoding.ids), query, item, self._max_tokens)
        return ids.tolist(), cut

    def _query_place(self, market: str, query: str) -> slice:
        """Where a query's tokens stand among those before an item, special ones included."""
        text, places = _formatted(self._before, market=market, query=query)
        found = _place(self._tokenizer.encode(text, add_special_tokens=False).offsets, places["query"])
        skipped = len(self._head) // _BYTES
        return slice(found.start + skipped, found.stop + skipped)

    def _items(self, titles: Sequence[str]) -> list[bytes]:
        """Tokens of each title."""
        items = {title: self._kept.get(title) for title in dict.fromkeys(titles)}
        missing = [title for title, ids in items.items() if ids is None]
        texts = [self._space + self._controls.broken(title) for title in missing]
        for title, ids in zip(missing, self._words.of(texts), strict=True):
            self._kept.put(title, ids)
            items[title] = ids
        return [items[title] or b"" for title in titles]

    def _around(self) -> tuple[bytes, bytes]:
        """Special tokens before and after a text."""
        encoding = self._tokenizer.encode(self._template)
        ids, text = encoding.ids, np.flatnonzero(np.array(encoding.special_tokens_mask) == 0)
        return (as_bytes(ids[: text[0]]), as_bytes(ids[text[-1] + 1 :])) if len(text) else (as_bytes(ids), b"")

    def _keeps_apart(self) -> bool:
        """Whether tokens never reach from what stands before an item into it.

        They cannot where a special token stands before it, or a space that no piece of the vocabulary joins with the
        character before. Then a few texts are tried: a tokenizer may also treat the beginning of a text in its own way.
        """
        added = [token.content for token in self._tokenizer.get_added_tokens_decoder().values() if token.special]
        if self._space:
            joined = [self._before[-1:] + space for space in SPACES]
            pieces = self._tokenizer.get_vocab(with_added_tokens=False)
            if any(joint in piece for joint in joined for piece in pieces):
                return False
        elif not self._before.endswith(tuple(added)):
            return False
        before = self._before.format(market="TH", query="x")
        encode = self._words.of_whole
        whole = encode([before + self._space + probe for probe in PROBES])
        (first,), items = encode([before]), encode([self._space + probe for probe in PROBES])
        return all(first + item == text for item, text in zip(items, whole, strict=True))


def _formatted(template: str, **fields: str) -> tuple[str, dict[str, slice]]:
    """A template with its fields filled in, and where each stands."""
    text, places = "", {}
    for literal, name, _, _ in Formatter().parse(template):
        text += literal
        if name is not None:
            places[name] = slice(len(text), len(text) + len(fields[name]))
            text += fields[name]
    return text, places


def _place(offsets: Sequence[tuple[int, int]], characters: slice) -> slice:
    """Which tokens end within some characters; one that begins with the space before them is among them."""
    inside = [place for place, (_, end) in enumerate(offsets) if characters.start < end <= characters.stop]
    return slice(inside[0], inside[-1] + 1) if inside else slice(0, 0)


def _shares(query: int, item: int, room: int) -> tuple[int, int]:
    """Tokens that a query and an item keep of theirs where both together have too many: the longer one loses first."""
    room = max(room, 0)
    kept = min(item, max(room - query, room - room // 2))
    return room - kept, kept


def _cut(ids: np.ndarray, query: slice, item: slice, most: int) -> tuple[np.ndarray, tuple[bool, bool]]:
    """`most` of a pair's tokens, and whether its query and its item lost some."""
    lengths = query.stop - query.start, item.stop - item.start
    shares = _shares(*lengths, most - len(ids) + sum(lengths))
    kept = np.ones(len(ids), dtype=bool)
    for place, share in zip((query, item), shares, strict=True):
        of_end = share // _FROM_END
        kept[place.start + share - of_end : place.stop - of_end] = False
    return ids[kept][:most], (shares[0] < lengths[0], shares[1] < lengths[1])


def query_runs(markets: Sequence[str], queries: Sequence[str]) -> np.ndarray:
    """int64 (n,), equal for pairs that follow each other and are of one market and query (`Tokens.queries_R`)."""
    asked = list(zip(markets, queries, strict=True))
    return np.cumsum([0, *(one != before for before, one in pairwise(asked))], dtype=np.int64)[: len(asked)]
