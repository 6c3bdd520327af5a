"""A text's tokens are its words' tokens end to end, where no piece reaches from one word into the next."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.relevance.encoding.kept_tokens import WordTokens
from tests.relevance.encoding.tokenizers_of_tests import Counted, bpe

APART = [("▁", "a"), ("▁a", "b"), ("a", "b")]
ACROSS = [*APART, ("b", "▁"), ("b▁", "a")]


@pytest.mark.parametrize("merges", [APART, ACROSS], ids=["within words", "over a space"])
@settings(max_examples=100, deadline=None)
@given(texts=st.lists(st.text("abc ", max_size=12), min_size=1, max_size=12))
def test_tokens_are_those_of_whole_texts(merges, texts) -> None:
    tokens = WordTokens(bpe(merges), 64)
    assert tokens.of(texts) == tokens.of_whole(texts)
    assert tokens.of(texts) == tokens.of_whole(texts), "again, with the words kept"


def test_a_new_text_of_known_words_is_not_tokenised() -> None:
    counted = Counted(bpe(APART))
    tokens = WordTokens(counted, 64)
    before = counted.texts
    tokens.of([" ab c", " a"])
    assert counted.texts - before == 3
    tokens.of([" c a ab", " ab ab"])
    assert counted.texts - before == 3


def test_a_text_with_a_piece_over_a_space_is_tokenised_whole_and_others_are_not() -> None:
    counted = Counted(bpe(ACROSS))
    tokens = WordTokens(counted, 64)
    before = counted.texts
    tokens.of([" ab ac", " c c c"])
    assert counted.texts - before == 2  # the first text, and the word of the second


def test_where_many_pieces_reach_over_spaces_every_text_is_tokenised_whole() -> None:
    many = [(first, "▁" + second) for first in "abcitemq" for second in "abc"]
    counted = Counted(bpe([*(("▁", letter) for letter in "abc"), *many]))
    tokens = WordTokens(counted, 64)
    before = counted.texts
    for _ in range(2):
        tokens.of([" a c", " c c"])
    assert counted.texts - before == 4
