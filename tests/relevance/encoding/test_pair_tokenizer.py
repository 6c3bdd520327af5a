"""Parts that are tokenised apart give the tokens of whole texts, for every kind of tokenizer."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from components.contracts.errors import BadInput
from components.contracts.text import normalise_query, normalise_title
from components.relevance.config import E5_SMALL, GEMMA3_270M, MINILM_L6, PAIR_TEMPLATE, ExpertConfig
from components.relevance.encoding.control_tokens import ControlTokens
from components.relevance.encoding.pair_tokenizer import PairTokenizer
from components.relevance.experts.weights import expert_spec, prepare_expert
from tests.relevance.encoding.tokenizers_of_tests import Counted, bpe

_SEGMENTS = {"pooling": "segments", "separator": "<eos>", "template": "{query}<eos>{item}"}
CONFIGS = (
    *(config.model_copy(update={"max_tokens": 400}) for config in (GEMMA3_270M, E5_SMALL, MINILM_L6)),
    ExpertConfig(name="bert", source="tiny:bert", max_tokens=200, **_SEGMENTS),
    ExpertConfig(name="qwen", source="tiny:qwen3", max_tokens=200),
    ExpertConfig(name="gemma", source="tiny:gemma3", max_tokens=200),
)
# All scripts, spaces, marks that join what stands before them, and what tokenizers take for their own.
TEXTS = st.lists(
    st.one_of(
        st.text(max_size=8),
        st.sampled_from(
            ["</s>", "<bos>", "[SEP]", "<mask>", "\u0301", "เคส", "điện", "手机", "5.5", ":", " ", "\u200b"]
        ),
    ),
    min_size=1,
    max_size=8,
).map("".join)


def whole(tokenizer: Tokenizer, template: str, pairs: list[tuple[str, str, str]]) -> list[list[int]]:
    broken = ControlTokens(tokenizer).broken
    return [
        tokenizer.encode(template.format(market=market, query=broken(query), item=broken(title))).ids
        for market, query, title in pairs
    ]


def apart(tokenizer: PairTokenizer, pairs: list[tuple[str, str, str]]) -> list[list[int]]:
    return [ids.tolist() for ids in tokenizer.tokens(*zip(*pairs, strict=True)).lists()]


@pytest.fixture(scope="module", params=CONFIGS, ids=lambda config: config.name)
def expert(request: pytest.FixtureRequest) -> tuple[PairTokenizer, Tokenizer, str]:
    config = request.param
    folder, spec = prepare_expert(config), expert_spec(config)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return PairTokenizer.load(folder, spec), tokenizer, spec.template


def test_every_architectures_tokenizer_keeps_an_item_apart(expert) -> None:
    assert expert[0].apart


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(["ID", "TH"]), TEXTS, TEXTS), min_size=1, max_size=6))
def test_tokens_are_those_of_whole_texts(expert, raw) -> None:
    pairs = [(market, normalise_query(query), normalise_title(title)) for market, query, title in raw]
    assert apart(expert[0], pairs) == whole(*expert[1:], pairs)


@pytest.mark.parametrize(
    ("merges", "template", "kept_apart"),
    [
        ([("▁", "a"), ("▁a", "b")], "query: {query}\nitem: {item}", True),
        ([(":", "▁"), (":▁", "a")], "query: {query}\nitem: {item}", False),
        ([("▁", "a")], "query: {query}\n{item}", False),
        ([("▁", "a")], "item: {item}\nquery: {query}", False),
        ([("▁", "a")], "query: {query} item: {item} c", False),
    ],
    ids=["pieces begin at spaces", "a piece reaches over the space", "no space", "item first", "text after the item"],
)
def test_where_a_piece_could_reach_into_the_item_texts_are_tokenised_whole(merges, template, kept_apart) -> None:
    tokenizer = bpe(merges)
    parts = PairTokenizer(tokenizer, template, 64)
    assert parts.apart is kept_apart
    pairs = [("TH", "ab", "a b ab"), ("TH", "ab", "b"), ("TH", "a", "abc a")]
    assert apart(parts, pairs) == whole(tokenizer, template, pairs)


def test_an_items_tokens_are_kept_while_it_is_asked_for_and_no_more_than_stated() -> None:
    counted = Counted(bpe([("▁", "a")]))
    tokenizer = PairTokenizer(counted, "query: {query}\nitem: {item}", 64, kept=4)

    def tokenised(*titles: str) -> int:
        before = counted.texts
        tokenizer.tokens(["TH"] * len(titles), ["q"] * len(titles), titles)
        return counted.texts - before - 1  # the query's part

    assert tokenised("a", "b", "a") == 2
    assert tokenised("b", "a") == 0
    for number in range(20):
        assert tokenised("a", "b" * (number + 2)) == 1, "asked for each time: stays"
    assert tokenised("b") == 1, "not asked for long: gone"
    assert len(tokenizer._kept) <= 8


def test_the_default_template_keeps_items_apart(expert) -> None:
    _, tokenizer, _ = expert
    assert PairTokenizer(tokenizer, PAIR_TEMPLATE, 200).apart


LONG = "[READY STOCK] Kaos Polos Pria Wanita Lengan Pendek Cotton Combed 30s Premium Original Distro Murah Bisa COD"


@pytest.fixture(scope="module", params=CONFIGS, ids=lambda config: config.name)
def short(request: pytest.FixtureRequest) -> tuple[PairTokenizer, PairTokenizer, int]:
    """An expert's tokenizer with little room, and with much."""
    config = request.param
    folder, spec = prepare_expert(config), expert_spec(config)
    room = 64 if config.source.startswith("tiny") else 40
    return PairTokenizer.load(folder, replace(spec, max_tokens=room)), PairTokenizer.load(folder, spec), room


@pytest.mark.parametrize("times", [1, 2, 4])
def test_a_long_query_leaves_an_item_its_half(short, times: int) -> None:
    tokenizer, roomy, room = short
    titles = ["Sepatu Sneakers Wanita", LONG, "Rice Cooker 1 liter", "เคสมือถือกันกระแทก", LONG + " XL", LONG + " XXL"]
    query = normalise_query(" ".join([LONG] * times))
    tokens = tokenizer.tokens(["ID"] * len(titles), [query] * len(titles), titles)
    ids = [own.tolist() for own in tokens.lists()]
    assert max(map(len, ids)) <= room
    assert len({tuple(own) for own in ids}) == len(titles), "no two titles are one"
    empty = roomy.tokens(["ID"], [""], [""]).lengths_R[0]
    for title, own, cut in zip(titles, ids, tokens.cut_R2.tolist(), strict=True):
        alone = roomy.tokens(["ID"], [""], [title]).lists()[0].tolist()
        share = len(alone) - empty
        assert cut[0] or times == 1
        assert not cut[1] or share >= (room - empty) // 2 - 1, "an item loses what is beyond its half"
        if not cut[1]:
            assert own[-share:] == alone[-share:], "a short item is whole"


def test_a_short_query_is_whole_beside_a_long_item(short) -> None:
    tokenizer, roomy, room = short
    tokens = tokenizer.tokens(["ID", "ID"], ["tas", "tas"], [LONG * 3, "Tas"])
    assert tokens.cut_R2.tolist() == [[False, True], [False, False]]
    assert tokens.lengths_R[0] == room, "no room is left unused"
    uncut = roomy.tokens(["ID"], ["tas"], ["Tas"]).lists()[0].tolist()
    assert tokens.lists()[1].tolist() == uncut


def test_texts_that_are_tokenised_whole_are_cut_alike() -> None:
    tokenizer = bpe([("▁", "a")])
    in_parts = PairTokenizer(tokenizer, "query: {query}\nitem: {item}", 32)
    in_parts_too = PairTokenizer(tokenizer, "query: {query}\nitem: {item}", 32)
    in_parts_too.apart = False
    pairs = [("TH", "ab" * number, "bc a" * other) for number in (1, 5, 40) for other in (1, 3, 40)]
    assert in_parts.apart
    assert apart(in_parts, pairs) == apart(in_parts_too, pairs)
    both = [own.tokens(*zip(*pairs, strict=True)).cut_R2 for own in (in_parts, in_parts_too)]
    assert (both[0] == both[1]).all()
    last_first = PairTokenizer(tokenizer, "item: {item}\nquery: {query}", 32)
    tokens = last_first.tokens(*zip(*pairs, strict=True))
    assert tokens.lengths_R.max() == 32
    assert (tokens.cut_R2 == both[0]).mean() > 0.8


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.tuples(TEXTS, TEXTS, st.integers(0, 40), st.integers(0, 40)))
def test_any_pair_fits_and_no_text_becomes_a_control_token(expert, drawn) -> None:
    query, title, more, again = drawn
    roomy, tokenizer, template = expert
    pair = ("TH", normalise_query(query + " เคส" * more), normalise_title(title + "x9 " * again))
    ids = roomy.tokens(*zip(pair, strict=True)).ids_T.tolist()
    special = {number for number, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    special -= {tokenizer.token_to_id(name) for name in ("<unk>", "[UNK]")}
    frame = tokenizer.encode(template.format(market="TH", query="", item="")).ids
    assert sorted(set(ids) & special) == sorted(set(frame) & special)
    for number in special:
        assert ids.count(number) == frame.count(number), tokenizer.id_to_token(number)


def test_a_template_without_room_is_refused() -> None:
    with pytest.raises(BadInput, match="of 14 tokens; raise max_tokens"):
        PairTokenizer(bpe([("▁", "a")]), "query: {query}\nitem: {item}", 14)
