"""Every rule of the public surface, and that each violation says what and where."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.contracts.errors import BadInput
from serving.transformer.validation import (
    Catalogue,
    RawInput,
    RelevanceRequest,
    SearchRequest,
    relevance_request,
    search_request,
)

MARKETS = ("ID", "TH")


def text(name: str, values: Sequence[Any], datatype: str = "BYTES", shape: Sequence[Any] | None = None) -> RawInput:
    return RawInput(name, datatype, [len(values)] if shape is None else shape, values)


def search(**changes: RawInput | None) -> list[RawInput]:
    inputs: dict[str, RawInput | None] = {
        "market": text("market", ["TH"]),
        "user_id": text("user_id", [b"u1"]),
        "query": text("query", ["เคส"]),
        "item_ids": text("item_ids", ["a", b"b"]),
    }
    return [value for value in (inputs | changes).values() if value is not None]


def relevance(**changes: RawInput) -> list[RawInput]:
    inputs = {
        "market": text("market", ["TH", "ID"]),
        "query": text("query", ["เคส", "casing"]),
        "title": text("title", ["x", "y"]),
    }
    return list((inputs | changes).values())


def test_valid_requests_pass() -> None:
    assert search_request(search(), MARKETS) == SearchRequest("TH", "u1", "เคส", ["a", "b"])
    expected = RelevanceRequest(["TH", "ID"], ["เคส", "casing"], ["x", "y"])
    assert relevance_request(relevance(), MARKETS) == expected


def test_a_thousand_items_pass() -> None:
    ids = [f"item-{number}" for number in range(1000)]
    assert search_request(search(item_ids=text("item_ids", ids)), MARKETS).item_ids == ids


BROKEN_SEARCHES = {
    "missing input query": search(query=None),
    "missing input market, user_id, query, item_ids": [],
    "unexpected input 'page' (expected: market": [*search(), text("page", ["1"])],
    "input market is there 2 times": [*search(), text("market", ["TH"])],
    "input query: datatype 'FP32', expected BYTES": search(query=text("query", [1.0], "FP32")),
    "input item_ids: datatype 'INT64'": search(item_ids=text("item_ids", [1], "INT64")),
    "input market: shape [2], expected [1]": search(market=text("market", ["TH", "ID"])),
    "input item_ids: shape [0], expected [n], n from 1 to 1000": search(item_ids=text("item_ids", [])),
    "input item_ids: shape [1001]": search(item_ids=text("item_ids", [str(n) for n in range(1001)])),
    "input item_ids: shape [1, 2]": search(item_ids=text("item_ids", ["a", "b"], shape=[1, 2])),
    "input item_ids: shape []": search(item_ids=text("item_ids", ["a"], shape=[])),
    "input item_ids: shape [True]": search(item_ids=text("item_ids", ["a"], shape=[True])),
    "input item_ids: shape [-1]": search(item_ids=text("item_ids", ["a"], shape=[-1])),
    "input item_ids: 1 values for shape [2]": search(item_ids=text("item_ids", ["a"], shape=[2])),
    "input item_ids: value 1 is 7, expected text": search(item_ids=text("item_ids", ["a", 7])),
    "input item_ids: value 0 is ['a'], expected text": search(item_ids=text("item_ids", [["a"]])),
    "input query: value 0 is None, expected text": search(query=text("query", [None])),
    "input query: value 0 is not UTF-8 text: b'\\xff'": search(query=text("query", [b"\xff"])),
    "input query: value 0 is not UTF-8 text: '\\ud800'": search(query=text("query", ["\ud800"])),
    "market: value 0: unknown market 'XX' (served: ID, TH)": search(market=text("market", ["XX"])),
    "unknown market 'th'": search(market=text("market", ["th"])),
    "query: value 0 is blank": search(query=text("query", [" \u3000\n"])),
    "query: value 0 has 10000 characters, at most 512": search(query=text("query", ["q" * 10_000])),
    "query: value 0 has more characters in normal form, at most 512": search(query=text("query", ["น้ำ" * 170])),
    "query: value 0 has 4000 characters, at most 512": search(query=text("query", ["x" + "\u200b" * 3999])),
    "user_id: value 0 is blank": search(user_id=text("user_id", [""])),
    "user_id: value 0 has 300 bytes, at most 256": search(user_id=text("user_id", ["u" * 300])),
    "user_id: value 0 has 258 bytes, at most 256": search(user_id=text("user_id", ["ก" * 86])),
    "user_id: value 0 has a control character: 'u\\x00'": search(user_id=text("user_id", ["u\0"])),
    "item_ids: value 1 has 257 bytes, at most 256": search(item_ids=text("item_ids", ["a", "i" * 257])),
    "item_ids: value 1 has a control character: 'b\\x00'": search(item_ids=text("item_ids", ["a", "b\0"])),
    "item_ids: value 1 is blank": search(item_ids=text("item_ids", ["a", "\u200b"])),
    "input query: datatype 'bytes', expected BYTES": search(query=text("query", ["q"], "bytes")),
    "input item_ids: shape ['2'], expected [n]": search(item_ids=text("item_ids", ["a", "b"], shape=["2"])),
    "input item_ids: shape [2.0], expected [n]": search(item_ids=text("item_ids", ["a", "b"], shape=[2.0])),
    "item_ids: 2 of 4 given more than once: 'b', 'a'": search(item_ids=text("item_ids", ["a", "b", "b", "a"])),
}


@pytest.mark.parametrize(("message", "inputs"), BROKEN_SEARCHES.items(), ids=list(BROKEN_SEARCHES))
def test_broken_searches_say_what_and_where(message: str, inputs: list[RawInput]) -> None:
    with pytest.raises(BadInput) as caught:
        search_request(inputs, MARKETS)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "blank",
    ["\0", "\u200b\u200d", "\ufeff", "\u00ad", "\u2060 \u200e", "\u3164", "\ufe0f", "\u2800", "\x1b\x7f", "\u2028"],
)
def test_a_text_that_shows_nothing_is_blank(blank: str) -> None:
    with pytest.raises(BadInput, match="query: value 0 is blank"):
        search_request(search(query=text("query", [blank])), MARKETS)
    assert search_request(search(query=text("query", [f"{blank}x"])), MARKETS).query == f"{blank}x"


@pytest.mark.parametrize("seen", ["ก", "่", "!", "👍", "❤\ufe0f", "7", "\ue000"])
def test_a_text_of_one_character_is_not_blank(seen: str) -> None:
    assert search_request(search(query=text("query", [seen])), MARKETS).query == seen


BROKEN_PAIRS = {
    "market, query and title must have the same length, found market [2], query [1], title [2]": relevance(
        query=text("query", ["one"])
    ),
    "market: value 1: unknown market 'VN'": relevance(market=text("market", ["TH", "VN"])),
    "title: value 1 has 2049 characters, at most 2048": relevance(title=text("title", ["x", "t" * 2049])),
    "title: value 0 is blank": relevance(title=text("title", ["\t", "y"])),
    "query: value 1 is blank": relevance(query=text("query", ["x", ""])),
    "shape [0]": relevance(title=text("title", [])),
}


@pytest.mark.parametrize(("message", "inputs"), BROKEN_PAIRS.items(), ids=list(BROKEN_PAIRS))
def test_broken_pairs_say_what_and_where(message: str, inputs: list[RawInput]) -> None:
    with pytest.raises(BadInput) as caught:
        relevance_request(inputs, MARKETS)
    assert message in str(caught.value)


def test_the_catalogue_knows_titles_by_market() -> None:
    catalogue = Catalogue(["a", "b", "c"], ["TH", "TH", "ID"], ["เคส", "สาย", "casing"])
    assert catalogue.titles(["b", "a"], "TH") == ["สาย", "เคส"]
    with pytest.raises(BadInput, match=r"item_ids: 2 of 3 not in this release's catalogue: 'x', 'y'"):
        catalogue.titles(["a", "x", "y"], "TH")
    with pytest.raises(BadInput, match=r"item_ids: 1 of 2 not of market TH: 'c' \(c is of ID\)"):
        catalogue.titles(["a", "c"], "TH")


def test_long_lists_of_unknown_items_are_shortened() -> None:
    catalogue = Catalogue(["a"], ["TH"], ["x"])
    with pytest.raises(BadInput) as caught:
        catalogue.titles([f"{'long' * 60}{n}" for n in range(900)], "TH")
    assert "900 of 900" in str(caught.value)
    assert "and 895 more" in str(caught.value)
    assert len(str(caught.value)) < 500


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.builds(
            RawInput,
            st.sampled_from(["market", "user_id", "query", "item_ids", "title", ""]),
            st.sampled_from(["BYTES", "FP32", "bytes", ""]),
            st.lists(ANYTHING, max_size=2),
            st.lists(ANYTHING, max_size=3),
        ),
        max_size=5,
    )
)
def test_whatever_comes_is_a_request_or_a_printable_bad_input(inputs: list[RawInput]) -> None:
    for check in (search_request, relevance_request):
        try:
            check(inputs, MARKETS)
        except BadInput as error:
            str(error).encode("utf-8")
