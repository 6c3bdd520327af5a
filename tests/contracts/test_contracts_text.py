"""Text is normalised once and for all, and hashed alike everywhere."""

import hashlib

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from components.contracts.text import (
    PAD_BUCKET,
    format_pair,
    normalise_query,
    normalise_title,
    query_key,
    query_ngrams,
    stable_bucket,
)

# All that UTF-8 can carry: files and requests cannot hold lone surrogates.
texts = st.text(st.characters(exclude_categories=("Cs",)))


@given(texts)
@example("J\u030c")  # its lower case composes, itself does not
@example("\u0130STANBUL")
@example("\u00a8x")
@example("\u1e9e \u03a3\u03a3")
def test_normalising_twice_changes_nothing(text: str) -> None:
    query, title = normalise_query(text), normalise_title(text)
    assert normalise_query(query) == query
    assert normalise_title(title) == title
    assert normalise_query(title) == query


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


def test_pairs_are_formatted_from_normal_forms_and_braces_are_text() -> None:
    template = "market: {market}\nquery: {query}\nitem: {item}"
    assert (
        format_pair(template, "ID", " KAOS {0} ", " Kaos  {item} ") == "market: ID\nquery: kaos {0}\nitem: Kaos {item}"
    )


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
