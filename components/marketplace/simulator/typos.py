"""Slips of the finger, each language's own kind."""

import unicodedata

import numpy as np

# Thai vowels above or below the line and tone marks: what hasty typing leaves out.
_THAI_MARKS = frozenset("ัิีึืุู็่้๊๋์")


def mistype(rng: np.random.Generator, text: str, language: str) -> str:
    """The text with a slip: Vietnamese without diacritics, Thai less a mark, else a letter dropped, doubled or swapped.

    A text too short to spoil comes back as it was.
    """
    if language == "vi" and rng.random() < 0.7:
        return strip_diacritics(text)
    if language == "th":
        places = [i for i, character in enumerate(text) if character in _THAI_MARKS]
    else:
        # Numbers and sizes are copied rather than typed: only letters slip, and never the first.
        places = [i for i in range(1, len(text) - 1) if text[i].isalpha() and text[i + 1].isalpha()]
    if not places:
        return text
    at = places[int(rng.integers(len(places)))]
    kind = 0 if language in ("th", "zh") else int(rng.integers(3))
    if kind == 0:
        return text[:at] + text[at + 1 :]
    if kind == 1:
        return text[: at + 1] + text[at:]
    return text[:at] + text[at + 1] + text[at] + text[at + 2 :]


def strip_diacritics(text: str) -> str:
    """Vietnamese as typed without an input method: ``tai nghe không dây`` -> ``tai nghe khong day``."""
    plain = "".join(c for c in unicodedata.normalize("NFD", text) if not unicodedata.combining(c))
    return plain.replace("đ", "d").replace("Đ", "D")
