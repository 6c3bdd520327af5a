"""Text is normalised once and for all, and hashed alike everywhere."""

import hashlib
import re
import unicodedata

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from components.contracts.text import (
    BLANK,
    GROWTH,
    MAX_QUERY_CHARS,
    MAX_TYPED,
    PAD_BUCKET,
    normalise_query,
    normalise_title,
    query_key,
    query_ngrams,
    stable_bucket,
    too_long,
    visible,
)

# All that UTF-8 can carry: files and requests cannot hold lone surrogates.
anything = st.characters(exclude_categories=("Cs",))
# What the six markets' languages are written with: Latin letters of Indonesian, Malay, Filipino and Vietnamese with
# their marks, composed and not, Thai, Chinese, Tamil and Jawi; and what is confused with it, or not seen at all.
latin = st.sampled_from(
    "aeiouyAEIOUYbcdđghklmnprstvxqngNGÑñĐðÀáẢãạêếôờưƯ'’‘`´ʼ-–—\u0300\u0301\u0303\u0309\u0323\u0302\u031b\u0360"
)
thai = st.sampled_from("กขนมอปรเแาำะๅ\u0e31\u0e34\u0e38\u0e39\u0e3a\u0e47\u0e48\u0e49\u0e4b\u0e4c\u0e4d\u0e4e๑")
others = st.sampled_from("手機殼保护ｋＡ１，。・〜தமிழ்كتابڤݢÇé½ﬁ①㎏")
unseen = st.sampled_from(
    "\0\x1b\x7f\x9b\xad\u034f\u061c\u115f\u17b4\u180b\u200b\u200c\u200d\u200e\u202e\u2060\u2066\ufe0f\ufeff\ufff9\U000e0041"
)
spaces = st.sampled_from(" \t\n\r\x1c\x85\xa0\u2003\u2028\u3000\u3164\u2800")
emoji = st.sampled_from("👩🔬❤🏴👍🏽™")
texts = st.one_of(st.text(anything), st.text(st.one_of(latin, thai, others, unseen, spaces, emoji), max_size=40))
nothing = st.text(st.one_of(unseen, spaces))


@given(texts)
@example("J\u030c")  # its lower case composes, itself does not
@example("\u0130STANBUL")
@example("\u00a8x")
@example("\u1e9e \u03a3\u03a3")
@example("\u0e47\u0339\u0e4c\u0e38")
def test_normalising_twice_changes_nothing(text: str) -> None:
    query, title = normalise_query(text), normalise_title(text)
    assert normalise_query(query) == query
    assert normalise_title(title) == title
    assert normalise_query(title) == query


@given(texts)
def test_nothing_unseen_is_left(text: str) -> None:
    for form in (visible(text), normalise_title(text), normalise_query(text)):
        assert form == form.strip()
        assert "  " not in form
        assert all(
            character.isprintable() or unicodedata.category(character) in ("Co", "Cn", "Cf") for character in form
        )
        assert not set(form) & set("\0\x1b\n\r\x9b\u200b\u200e\u202e\u2066\ufeff\xad")


@given(nothing)
def test_what_shows_nothing_is_blank_everywhere(text: str) -> None:
    assert normalise_title(text) == normalise_query(text) == visible(text) == ""


@settings(deadline=None)  # the first call compiles
@given(texts)
def test_files_and_requests_agree_on_what_is_blank(text: str) -> None:
    blank = normalise_title(text) == ""
    assert bool(re.match(BLANK, text)) == blank
    assert pc.match_substring_regex(pa.array([text]), BLANK)[0].as_py() == blank
    assert (normalise_query(text) == "") == blank


def test_every_character_agrees_on_what_is_blank_and_grows_no_further() -> None:
    for number in (*range(0xD800), *range(0xE000, 0x110000)):
        character = chr(number)
        form = normalise_query(character)
        assert bool(re.match(BLANK, character)) == (form == ""), hex(number)
        assert len(form) <= GROWTH, hex(number)
        assert normalise_query(form) == form, hex(number)


@given(st.lists(nothing, min_size=8, max_size=8), st.sampled_from(["casing", "เคสกันน้ำ", "điện thoại", "手機殼"]))
def test_unseen_characters_inside_a_word_change_nothing(between: list[str], word: str) -> None:
    unspaced = [
        "".join(character for character in part if re.match("[^\\s\x1c\u3164\u2800]", character)) for part in between
    ]
    pasted = "".join(letter + part for letter, part in zip(word, (unspaced * 3)[: len(word)], strict=True))
    assert normalise_query(pasted) == normalise_query(word)


@given(texts)
def test_composed_and_decomposed_are_one(text: str) -> None:
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        assert normalise_query(unicodedata.normalize(form, normalise_title(text))) == normalise_query(text)  # type: ignore[arg-type]


@given(st.text(st.one_of(thai, latin), max_size=600), st.integers(0, 3000))
@example("น้ำ" * 170, 0)  # 510 as typed, 680 in normal form
@example("e\u0302\u0301" * 400, 0)
def test_what_is_not_too_long_is_within_the_limit_wherever_it_is_read(text: str, padding: int) -> None:
    typed = text + "\u200b" * padding
    if not too_long(typed, normalise_query, MAX_QUERY_CHARS):
        assert len(normalise_query(typed)) <= MAX_QUERY_CHARS
        assert len(typed) <= MAX_TYPED * MAX_QUERY_CHARS
    assert too_long("น้ำ" * 170, normalise_query, MAX_QUERY_CHARS)
    assert not too_long("e\u0302\u0301" * 400, normalise_query, MAX_QUERY_CHARS), "600 marks, 400 letters"


@given(texts, st.sampled_from([" ", "\t", "\n", "\u3000", "\xa0", "  "]))
def test_white_space_does_not_matter(text: str, space: str) -> None:
    spaced = space + text + space
    assert normalise_query(spaced) == normalise_query(text)
    assert not normalise_title(spaced).startswith(" ")


@pytest.mark.parametrize(
    ("raw", "query"),
    [
        ("  iPhone　15  ＰＲＯ ", "iphone 15 pro"),
        ("Tai  Nghe KHÔNG dây", "tai nghe không dây"),
        ("Tai nghe kho\u0302ng da\u0302y", "tai nghe không dây"),
        ("เคสมือถือ", "เคสมือถือ"),
        ("ﬁber", "fiber"),
        ("ca\u200bsing \ufeffHP\u200e", "casing hp"),
        ("Khoá cửa HOÀ phát, thuỷ tinh, khoẻ", "khóa cửa hòa phát, thủy tinh, khỏe"),
        ("qúy Qùa quý quà", "quý quà quý quà"),
        ("ngoài hoàn loại khuỷu canoé põe", "ngoài hoàn loại khuỷu canoé põe"),
        ("\xd0iện thoại", "điện thoại"),
        ("น้ำ นํ้า น\u0e4d\u0e49า นำ้", "น้\u0e4dา น้\u0e4dา น้\u0e4dา น้\u0e4dา"),
        ("ที่่ ท\u0e48\u0e35 เเก้ว", "ที่ ที่ แก้ว"),
        ("n͠ga ng̃a ñga Piñon", "nga nga nga piñon"),
        ("Qur’an qur´an qurʼan QUR`AN", "qur'an qur'an qur'an qur'an"),
        ("T–shirt T‑shirt T−shirt 15.6″ “x”", 't-shirt t-shirt t-shirt 15.6" "x"'),
        ("❤️ 👩\u200d🔬 a\u200db", "❤ 👩\u200d🔬 ab"),
        ("کتاب\u200cها क्\u200dष x\u200cy", "کتاب\u200cها क्\u200dष xy"),
        ("手機，殼　ＵＳＢ", "手機,殼 usb"),
        ("kaos\0\x1b[31m", "kaos[31m"),
        ("", ""),
    ],
)
def test_known_forms(raw: str, query: str) -> None:
    assert normalise_query(raw) == query


def test_titles_keep_their_case() -> None:
    assert normalise_title(" USB-C  Kabel ") == "USB-C Kabel"


def test_keys_tell_markets_apart() -> None:
    assert query_key("TH", " Kaos ") == "TH:kaos"
    assert query_key("TH", "kaos") != query_key("ID", "kaos")


@given(st.lists(texts, max_size=20), st.integers(2, 50_000))
def test_buckets_are_in_range_and_never_the_padding(values: list[str], buckets: int) -> None:
    codes = stable_bucket(values, buckets)
    assert codes.dtype == np.int64
    assert codes.shape == (len(values),)
    assert ((codes > PAD_BUCKET) & (codes < buckets)).all()


def test_buckets_are_what_md5_says() -> None:
    digest = hashlib.md5("เคสมือถือ".encode()).hexdigest()[:16]
    assert stable_bucket(["เคสมือถือ"], 1000)[0] == int(digest, 16) % 999 + 1
    assert stable_bucket(["TH-i00001"], 20_000)[0] == 2_136, "a constant: hashes must not change between versions"


@given(st.lists(texts, min_size=1, max_size=8), st.integers(1, 12))
def test_ngrams_have_a_fixed_shape_and_pad_on_the_right(queries: list[str], width: int) -> None:
    ids = query_ngrams(queries, 512, width)
    assert ids.shape == (len(queries), width)
    assert ids.dtype == np.int64
    present = ids > 0
    assert (present[:, :-1] >= present[:, 1:]).all()
    for query, row in zip(queries, present, strict=True):
        assert row.sum() == min(width, max(1, len(normalise_query(query))))


def test_ngrams_see_the_normal_form() -> None:
    assert (query_ngrams([" KAOS "], 512, 8) == query_ngrams(["kaos"], 512, 8)).all()
    assert (query_ngrams(["kaos"], 512, 8) != query_ngrams(["kaki"], 512, 8)).any()
