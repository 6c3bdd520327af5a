"""Parts that are tokenised apart give the tokens of whole texts, for every kind of tokenizer."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.normalizers import Replace
from tokenizers.processors import TemplateProcessing

from components.contracts.text import format_normal_pair, normalise_query, normalise_title
from components.relevance.config import E5_SMALL, GEMMA3_270M, MINILM_L6, PAIR_TEMPLATE, ExpertConfig
from components.relevance.encoding.pair_tokenizer import PairTokenizer
from components.relevance.encoding.tokens import pair_tokenizer
from components.relevance.experts.weights import expert_spec, prepare_expert

_SEGMENTS = {"pooling": "segments", "separator": "<eos>", "template": "{query}<eos>{item}"}
CONFIGS = (
    GEMMA3_270M,
    E5_SMALL,
    MINILM_L6,
    ExpertConfig(name="bert", source="tiny:bert", max_tokens=16, **_SEGMENTS),
    ExpertConfig(name="qwen", source="tiny:qwen3", max_tokens=12),
    ExpertConfig(name="gemma", source="tiny:gemma3", max_tokens=40),
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
    return [tokenizer.encode(format_normal_pair(template, *pair)).ids for pair in pairs]


def apart(tokenizer: PairTokenizer, pairs: list[tuple[str, str, str]]) -> list[list[int]]:
    tokens = tokenizer.tokens(*zip(*pairs, strict=True))
    return [ids.tolist() for ids in np.split(tokens.ids_T, tokens.lengths_R.cumsum()[:-1])]


@pytest.fixture(scope="module", params=CONFIGS, ids=lambda config: config.name)
def expert(request: pytest.FixtureRequest) -> tuple[PairTokenizer, Tokenizer, str]:
    config = request.param
    folder, spec = prepare_expert(config), expert_spec(config)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(spec.max_tokens)
    return pair_tokenizer(folder, spec), tokenizer, spec.template


def test_every_architectures_tokenizer_keeps_an_item_apart(expert) -> None:
    assert expert[0].apart


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(["ID", "TH"]), TEXTS, TEXTS), min_size=1, max_size=6))
def test_tokens_are_those_of_whole_texts(expert, raw) -> None:
    pairs = [(market, normalise_query(query), normalise_title(title)) for market, query, title in raw]
    assert apart(expert[0], pairs) == whole(*expert[1:], pairs)


def bpe(merges: list[tuple[str, str]]) -> Tokenizer:
    """A byte-pair tokenizer that, like Gemma's, splits nowhere before it merges."""
    pieces = dict.fromkeys([*"▁:abcitemquery", "\n", "<bos>", *("".join(pair) for pair in merges)])
    tokenizer = Tokenizer(BPE({piece: place for place, piece in enumerate(pieces)}, merges))
    tokenizer.normalizer = Replace(" ", "▁")
    tokenizer.add_special_tokens(["<bos>"])
    tokenizer.post_processor = TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", tokenizer.token_to_id("<bos>"))]
    )
    tokenizer.enable_truncation(64)
    return tokenizer


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
    parts = PairTokenizer(tokenizer, template)
    assert parts.apart is kept_apart
    pairs = [("TH", "ab", "a b ab"), ("TH", "ab", "b"), ("TH", "a", "abc a")]
    assert apart(parts, pairs) == whole(tokenizer, template, pairs)


class Counted:
    """A tokenizer that counts the texts it is given."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer, self.texts = tokenizer, 0

    def __getattr__(self, name: str):
        return getattr(self._tokenizer, name)

    def encode_batch_fast(self, texts: list[str], **options):
        self.texts += len(texts)
        return self._tokenizer.encode_batch_fast(texts, **options)


def test_an_items_tokens_are_kept_while_it_is_asked_for_and_no_more_than_stated() -> None:
    counted = Counted(bpe([("▁", "a")]))
    tokenizer = PairTokenizer(counted, "query: {query}\nitem: {item}", kept=4)

    def tokenised(*titles: str) -> int:
        before = counted.texts
        tokenizer.tokens(["TH"] * len(titles), ["q"] * len(titles), titles)
        return counted.texts - before - 1  # the query's part

    assert tokenised("a", "b", "a") == 2
    assert tokenised("b", "a") == 0
    for number in range(20):
        assert tokenised("a", "b" * (number + 2)) == 1, "asked for each time: stays"
    assert tokenised("b") == 1, "not asked for long: gone"
    assert len(tokenizer._kept._young) + len(tokenizer._kept._old) <= 8


def test_the_default_template_keeps_items_apart(expert) -> None:
    _, tokenizer, _ = expert
    assert PairTokenizer(tokenizer, PAIR_TEMPLATE).apart
