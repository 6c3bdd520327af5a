"""Text as every stage and the server must see it: normal form, keys and portable hashes.

A release carries a copy of this file beside its Triton models, so that serving hashes and normalises text exactly as
training did. It therefore depends on the standard library and numpy (1 or 2) alone.

The normal form (our choice) is what a reader sees, spelled in one way:

- Characters that nobody sees are taken out: controls, and all that Unicode calls Default_Ignorable_Code_Point
  (DerivedCoreProperties.txt). Of these, joiners stay where they change what is seen: in emoji, after a virama, and the
  non-joiner between Arabic letters (UAX #31, profile R1a; RFC 5892, appendix A).
- Compatible forms are one (NFKC): widths, ligatures, composed and decomposed letters. White space of any kind is one
  space; dashes are hyphens, quotes and apostrophes those of ASCII.
- Thai: marks in the order of WTT 2.0, each once, and two SARA E are one SARA AE (the rules of PyThaiNLP's `normalize`).
- Vietnamese: the tone of a final oa, oe, uy stands on the first vowel ("hóa", five times as frequent in shops' titles
  as "hoá"), after q on the second ("quý"); eth for "đ".
- Filipino: "n͠g", "ng̃" and "ñg" are "ng".
"""

import hashlib
import itertools
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence

import numpy as np

# Of the normal form and of how pairs are cut into tokens. What is stored under one version (keys, vectors, scores) is
# not read by another.
TEXT_VERSION = 2
# Of a text in normal form. As typed it may be longer: marks apart from their letters, characters that nobody sees.
MAX_QUERY_CHARS = 512
MAX_TITLE_CHARS = 2048
MAX_TYPED = 4  # times as many
GROWTH = 18  # a character becomes at most so many (one Arabic ligature does)
PAD_BUCKET = 0

# Parts of character classes. Shown as empty space: white space, fillers of a letter's width, the empty braille cell.
_SPACES = " \t-\r\x1c-\x1f\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u2800\u3000\u3164\uffa0\ufffc"
_UNSEEN = (
    "\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f"
    "\u202a-\u202e\u2060-\u206f\ufdd0-\ufdef\ufe00-\ufe0f\ufeff\ufff0-\ufffb\ufffe\uffff\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_NON_JOINER, _JOINER = "\u200c", "\u200d"
# Of a text that shows nothing: a pattern for `re` and for RE2.
BLANK = f"^[{_SPACES}{_UNSEEN}{_NON_JOINER}{_JOINER}]*$"
_SPACE, _NOT_SEEN = re.compile(f"[{_SPACES}]+"), re.compile(f"[{_UNSEEN}]+")
_JOINERS = re.compile(f"[{_NON_JOINER}{_JOINER}]+")
_ODD = f"{_SPACES.removeprefix(' ')}{_UNSEEN}{_NON_JOINER}{_JOINER}"
_ANY_ODD = re.compile(f"[{_ODD}]")
_VIRAMA = 9  # a combining class
_PHINTHU = "\u0e3a"  # Thai; joins nothing
# Printable ASCII with single spaces and no sign that is replaced.
_PLAIN = re.compile("(?:[!-_a-~]+(?: [!-_a-~]+)*)?")

# Signs that mean one: apostrophes, quotes, dashes, slashes, and two letters that look like Vietnamese ones. NFKC would
# take some of them apart, and writes others: they are replaced before and after it.
_SIGNS = str.maketrans(
    dict.fromkeys("`\xb4\u02b9\u02bb\u02bc\u02c8\u05f3\u2018\u2019\u201a\u201b\u2032\u2035", "'")
    | dict.fromkeys("\u05f4\u201c\u201d\u201e\u201f\u2033\u2036\u301d\u301e", '"')
    | dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63", "-")
    | dict.fromkeys("\u2044\u2215", "/")
    | {"\u301c": "~", "\xf0": "đ", "\xd0": "Đ", "\u0189": "Đ"}
)

# Cheap to look for: most texts have none.
_ANY_ODD_OR_SIGN = re.compile(f"[{_ODD}{''.join(map(chr, _SIGNS))}]")

# Thai: what stands above and below a consonant, and the vowels that follow it, after which a tone may be typed too late
# (SARA AM is NIKHAHIT and SARA AA in compatibility forms).
_THAI_MARKS = re.compile("[\u0e31\u0e34-\u0e3a\u0e47-\u0e4e]{2,}")
_THAI_LATE_TONES = re.compile("(?:\u0e4d?[\u0e30\u0e32\u0e45][\u0e48-\u0e4b]*)+")
_THAI_ODD = re.compile(
    "[\u0e48-\u0e4e][\u0e31\u0e34-\u0e3a\u0e47]|[\u0e4c-\u0e4e][\u0e48-\u0e4e]|[\u0e48-\u0e4b]{2}"
    "|[\u0e31\u0e34-\u0e3a\u0e47]{2}|[\u0e30\u0e32\u0e45][\u0e48-\u0e4b]|เเ"
)
_THAI_TONES = re.compile("[\u0e48-\u0e4b]+")
# A mark's place: below, above (1), tones, the marks over them.
_THAI_PLACES = dict.fromkeys("\u0e38\u0e39\u0e3a", 0) | dict.fromkeys("\u0e48\u0e49\u0e4a\u0e4b", 2)
_THAI_PLACES |= dict.fromkeys("\u0e4c\u0e4d\u0e4e", 3)

# Vietnamese: each vowel with the five tones.
_TONES = {"a": "àáảãạ", "e": "èéẻẽẹ", "i": "ìíỉĩị", "o": "òóỏõọ", "u": "ùúủũụ", "y": "ỳýỷỹỵ"}
_ONSETS = "ngh|ng|nh|ch|gh|kh|ph|th|tr|[bcdđghklmnrstvx]"
_LATE, _EARLY = f"o[{_TONES['a']}{_TONES['e']}]|u[{_TONES['y']}]", f"[{_TONES['u']}][aeiy]"
_NO_LETTER_BEFORE, _NO_LETTER_AFTER = r"(?<![^\W\d_])", r"(?![^\W\d_]|[\u0300-\u036f])"
_LATE_TONE = re.compile(f"{_NO_LETTER_BEFORE}(?P<onset>{_ONSETS}|)(?P<vowels>{_LATE}){_NO_LETTER_AFTER}", re.IGNORECASE)
_EARLY_TONE = re.compile(f"{_NO_LETTER_BEFORE}(?P<onset>q)(?P<vowels>{_EARLY}){_NO_LETTER_AFTER}", re.IGNORECASE)
# Looser and cheaper: most texts have neither. A class first, and both cases written out, are much faster than those.
_MOVABLE_TONE = re.compile(
    f"[oOuUÙÚỦŨỤ{_TONES['u']}][aeiyAEIY{''.join(_TONES.values())}{''.join(_TONES.values()).upper()}]{_NO_LETTER_AFTER}"
)
_THAI = re.compile("[\u0e31-\u0e4e]")
_TILDE = re.compile("[ñÑ\u0303\u0360]")
_FILIPINO_NG = re.compile("([nNñÑ])[\u0303\u0360]*([gG])[\u0303\u0360]*")


def normalise_title(text: str) -> str:
    """The normal form (above); case is kept."""
    if _PLAIN.fullmatch(text):
        return text
    if _ANY_ODD_OR_SIGN.search(text):
        text = visible(text).translate(_SIGNS)
    if not unicodedata.is_normalized("NFKC", text):
        text = unicodedata.normalize("NFKC", text).translate(_SIGNS)
    # What one rule moves may be for another one to move on.
    while (spelled := visible(unicodedata.normalize("NFC", _spelled(text)))) != text:
        text = spelled
    return text


def normalise_query(text: str) -> str:
    """The form under which a query is keyed, stored and scored: a normalised title in lower case."""
    # Once more, because lower case may compose where upper case did not: normalising twice must change nothing.
    return normalise_title(normalise_title(text).lower())


def visible(text: str) -> str:
    """What a reader sees of a text, on one line: without what is not seen, and each white space one space.

    It can't be taken for a terminal's or a log's own marks: no control characters, no line breaks, no change of
    direction.
    """
    if _ANY_ODD.search(text):
        text = _JOINERS.sub(_joiner, _SPACE.sub(" ", _NOT_SEEN.sub("", text)))
    return " ".join(text.split())


def too_long(text: str, normalise: Callable[[str], str], max_chars: int) -> bool:
    """Whether a text has more than `max_chars` characters in normal form, or as typed more than anybody needs for it.

    The same rule for files, requests and commands. Normalising takes long where a text is all marks: one that is far
    too long is not read.
    """
    if len(text) * GROWTH <= max_chars:
        return False
    return len(text) > MAX_TYPED * max_chars or len(normalise(text)) > max_chars


def _joiner(match: re.Match[str]) -> str:
    """A joiner between two characters, where it changes how they look."""
    text, joiner = match.string, match[0][0]
    before, after = text[match.start() - 1 : match.start()], text[match.end() : match.end() + 1]
    if not before:
        return ""
    if unicodedata.combining(before) == _VIRAMA and before != _PHINTHU:
        letter = text[match.start() - 2 : match.start() - 1]
        return joiner if letter and (unicodedata.category(letter) == "Lo" or unicodedata.combining(letter)) else ""
    if joiner == _NON_JOINER:
        arabic = after and unicodedata.bidirectional(before) == unicodedata.bidirectional(after) == "AL"
        return joiner if arabic else ""
    pictures = after and unicodedata.category(after) == "So" and unicodedata.category(before) in ("So", "Sk")
    return joiner if pictures else ""


def _spelled(text: str) -> str:
    """A text in NFKC with equivalent spellings of one word as one."""
    if _THAI.search(text) and _THAI_ODD.search(text):
        text = _THAI_MARKS.sub(_marks_in_order, text)
        text = _THAI_LATE_TONES.sub(_tones_first, text)
        text = _THAI_MARKS.sub(_marks_in_order, text).replace("เเ", "แ")
    if _MOVABLE_TONE.search(text):
        text = _LATE_TONE.sub(_tone_on_first, text)
        text = _EARLY_TONE.sub(_tone_on_second, text)
    if _TILDE.search(text):
        text = _FILIPINO_NG.sub(lambda match: ("n" if match[1] in "nñ" else "N") + match[2], text)
    return text


def _marks_in_order(match: re.Match[str]) -> str:
    marks = sorted(match[0], key=lambda mark: (_THAI_PLACES.get(mark, 1), unicodedata.combining(mark), mark))
    return "".join(mark for mark, _ in itertools.groupby(marks))


def _tones_first(match: re.Match[str]) -> str:
    return "".join(_THAI_TONES.findall(match[0])) + _THAI_TONES.sub("", match[0])


def _tone_on_first(match: re.Match[str]) -> str:
    first, second = tuple(match["vowels"].lower())
    plain = next(vowel for vowel in "aey" if second in _TONES[vowel])
    return match["onset"] + _in_case_of(match["vowels"], _TONES[first][_TONES[plain].index(second)] + plain)


def _tone_on_second(match: re.Match[str]) -> str:
    first, second = tuple(match["vowels"].lower())
    return match["onset"] + _in_case_of(match["vowels"], "u" + _TONES[second][_TONES["u"].index(first)])


def _in_case_of(typed: str, letters: str) -> str:
    return "".join(new.upper() if old.isupper() else new for old, new in zip(typed, letters, strict=True))


def query_key(market: str, query: str) -> str:
    """Join key of a query: market and normalised text, e.g. ``TH:เคสมือถือ``."""
    return f"{market}:{normalise_query(query)}"


def stable_bucket(values: Iterable[str], buckets: int) -> np.ndarray:
    """Buckets 1..buckets-1 of the strings, equal on every platform and engine (md5, first 8 bytes, big-endian).

    Bucket 0 means "absent or unknown" and is never the hash of a value. Returns int64 of shape (n,).
    """
    codes = [
        int.from_bytes(hashlib.md5(value.encode(), usedforsecurity=False).digest()[:8], "big") % (buckets - 1) + 1
        for value in values
    ]
    return np.array(codes, dtype=np.int64)


def query_ngrams(queries: Sequence[str], buckets: int, max_ngrams: int) -> np.ndarray:
    """Hashed character trigrams of normalised queries: what the router reads besides the market (our choice).

    Queries are padded with a space on both sides, so that one-character queries have a trigram. Returns int64 of
    shape (n, max_ngrams), 0 where a query has fewer.
    """
    padded = [f" {normalise_query(query)} " for query in queries]
    grams = [[text[i : i + 3] for i in range(max(1, len(text) - 2))][:max_ngrams] for text in padded]
    # Many queries share most of their trigrams: each is hashed once.
    distinct = dict.fromkeys(gram for own in grams for gram in own)
    bucket = dict(zip(distinct, stable_bucket(distinct, buckets).tolist(), strict=True))
    ids = np.zeros((len(queries), max_ngrams), dtype=np.int64)
    for row, own in enumerate(grams):
        ids[row, : len(own)] = [bucket[gram] for gram in own]
    return ids
