"""Tokens of short texts, kept while they are asked for: by text, and by word where a tokenizer keeps words apart."""

import re
from array import array
from collections.abc import Sequence

from tokenizers import Tokenizer

# How tokenizers write a space inside a piece: as it is, as SentencePiece does, as byte-level ones do.
SPACES = (" ", "▁", "Ġ")
# What a tokenizer that says it keeps words apart is tried with: scripts, digits, marks, a control token.
PROBES = ("a", "Case HP 5", "5.5", "เคส", "điện thoại", "\u0301x", "(x)", "</s>", "手機")
# A word, and the space before it.
_WORD = re.compile(" ?[^ ]+")
# So many texts are tokenised one after the other. The library's threads, woken for few, save little, and where others
# are at work each of them may be waited for.
_FEW = 8
# A tokenizer with more pieces that reach over a space joins words as a rule.
_MOST_ACROSS = 16


class Kept:
    """Tokens of texts, the latest asked for; several threads may call.

    Two generations: what is asked for moves to the younger, and when that is full the older goes.

    Args:
        most: texts that are kept at least; at most twice as many are.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._young: dict[str, bytes] = {}
        self._old: dict[str, bytes] = {}

    def __len__(self) -> int:
        """Texts that are kept."""
        return len(self._young) + len(self._old)

    def get(self, text: str) -> bytes | None:
        """Tokens of a text, or None where they are not kept."""
        ids = self._young.get(text)
        if ids is None and (ids := self._old.get(text)) is not None:
            self.put(text, ids)
        return ids

    def put(self, text: str, ids: bytes) -> None:
        """Keep a text's tokens."""
        if len(self._young) >= self._most:
            self._young, self._old = {}, self._young
        self._young[text] = ids


class WordTokens:
    """Tokens of texts, without special ones around them.

    New titles are made of known words. Where no piece of the vocabulary reaches over a space, a text's tokens are those
    of its words end to end, and a word's are kept (our choice). Texts with a piece that does, and all texts where many
    do, are tokenised whole.

    Args:
        tokenizer: without padding and truncation.
        kept: words that are kept at least.
    """

    def __init__(self, tokenizer: Tokenizer, kept: int) -> None:
        self._tokenizer = tokenizer
        self._words = Kept(kept)
        added = [token.content for token in tokenizer.get_added_tokens_decoder().values()]
        pieces = {spaced(piece) for piece in (*tokenizer.get_vocab(with_added_tokens=False), *added)}
        across = sorted(piece for piece in pieces if " " in piece.lstrip(" "))
        # Spaces without a word behind them are pieces of their own.
        self._across = re.compile("|".join(["  ", " $", *map(re.escape, across)]))
        # Byte-level vocabularies spell what is not ASCII in characters of their own, which no text has.
        self._apart = len(across) <= _MOST_ACROSS and all(map(str.isascii, across)) and self._keeps_apart()

    def of(self, texts: Sequence[str]) -> list[bytes]:
        """Each text's tokens, by its words where that gives the same."""
        if not self._apart:
            return self.of_whole(texts)
        split = [_WORD.findall(text) if not self._across.search(text) else [] for text in texts]
        asked = set().union(*split)
        words = {word: ids for word in asked if (ids := self._words.get(word)) is not None}
        missing = list(asked - words.keys())
        for word, ids in zip(missing, self.of_whole(missing), strict=True):
            self._words.put(word, ids)
            words[word] = ids
        unsplit = iter(self.of_whole([text for text, own in zip(texts, split, strict=True) if not own]))
        return [b"".join(map(words.__getitem__, own)) if own else next(unsplit) for own in split]

    def of_whole(self, texts: Sequence[str]) -> list[bytes]:
        """Each text's tokens, by the tokenizer."""
        if len(texts) <= _FEW:
            return [as_bytes(self._tokenizer.encode(text, add_special_tokens=False).ids) for text in texts]
        encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [as_bytes(encoding.ids) for encoding in encodings]

    def _keeps_apart(self) -> bool:
        """Whether a word's tokens depend on no other word, for a few that a tokenizer may treat in a way of its own."""
        texts = [f"{first} {second}" for first in PROBES for second in PROBES]
        texts += [f" {text}" for text in texts]
        by_word = [b"".join(self.of_whole(_WORD.findall(text))) for text in texts]
        return by_word == self.of_whole(texts)


def spaced(piece: str) -> str:
    """A piece of a vocabulary, its spaces written as texts have them."""
    for space in SPACES:
        piece = piece.replace(space, " ")
    return piece


def as_bytes(ids: Sequence[int]) -> bytes:
    """Ids as int32 end to end: thousands of such parts are joined faster than arrays are."""
    return array("i", ids).tobytes()
