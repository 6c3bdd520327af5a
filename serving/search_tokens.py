"""Titles and queries as tokens of two fields: what is written, and what is meant by it (our choice).

Field `exact` holds the words of the normal form. Field `folded` holds what people leave out, split or join otherwise:
without accents ("dien thoai"), Thai without tone marks, digits of any script as ASCII, letters and digits apart
("iphone15"), each two neighbours as one ("powerbank", "power bank", "power-bank"), and single Han characters.

Thai, Lao, Burmese, Khmer, Han and kana are written without spaces. Their runs are overlapping pairs and, but for Han
and kana, threes of characters: no dictionary, which would not know brands and slang, has to segment them.
"""

import re
import unicodedata
from collections.abc import Iterator

from components.contracts.text import normalise_query

_HAN_AND_KANA = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
# Their vowel signs are no `\w`.
_SOUTH_EAST = "\u0e00-\u0e7f\u0e80-\u0eff\u1000-\u109f\u1780-\u17ff"
_MARKS = "\u0300-\u036f"
_RUN = re.compile(f"([{_HAN_AND_KANA}]+)|([{_SOUTH_EAST}]+)|((?:(?![{_SOUTH_EAST}{_HAN_AND_KANA}])[\\w{_MARKS}])+)")
_LETTERS_OR_DIGITS = re.compile(r"\d+|[^\W\d]+")
_THAI_TONES = re.compile("[\u0e48-\u0e4c]")
_LEFT_OUT = re.compile(f"[{_MARKS}']")
_BARE = str.maketrans("đøłıæœ", "doliao")


def exact_tokens(text: str) -> Iterator[str]:
    """Words of the normal form; runs of an unspaced script as overlapping characters."""
    for han, south_east, word in _RUN.findall(normalise_query(text)):
        yield from _grams(han, (2,)) if han else _grams(south_east, (2, 3)) if south_east else (word,)


def folded_tokens(text: str) -> Iterator[str]:
    """Words as one may type them, in pieces of letters or digits, and each two neighbours as one."""
    before = ""
    for han, south_east, word in _RUN.findall(folded(text)):
        if not word:
            before = ""
            yield from _grams(han, (1, 2)) if han else _grams(south_east, (2, 3))
            continue
        for piece in _LETTERS_OR_DIGITS.findall(word):
            yield piece
            if before:
                yield before + piece
            before = piece


def folded(text: str) -> str:
    """The normal form without accents, tone marks and apostrophes, digits as ASCII."""
    text = _THAI_TONES.sub("", normalise_query(text)).translate(_BARE)
    text = _LEFT_OUT.sub("", unicodedata.normalize("NFD", text))
    return "".join(
        str(unicodedata.digit(character)) if character.isdecimal() else character
        for character in unicodedata.normalize("NFC", text)
    )


def _grams(run: str, sizes: tuple[int, ...]) -> Iterator[str]:
    if len(run) < sizes[0]:
        yield run
    for size in sizes:
        yield from (run[start : start + size] for start in range(len(run) - size + 1))
