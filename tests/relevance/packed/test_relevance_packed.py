"""Experts on packs: the same vectors as the padded Hugging Face trunk, for every architecture, pooling and length."""

import gc
import multiprocessing
import threading
import time
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional
from typer.testing import CliRunner

from components.contracts.errors import BadInput
from components.contracts.text import normalise_query, normalise_title, query_ngrams
from components.relevance.ahead import prepared_ahead
from components.relevance.component import find_shards, publish_scores
from components.relevance.encoding.packed import PackedTextEncoder
from components.relevance.encoding.padded import TextEncoder, pad
from components.relevance.encoding.tokens import TokenisingWorkers
from components.relevance.experts.tiny import FAMILIES, tiny_architecture, write_tiny_expert
from components.relevance.model.expert import Expert, read_expert
from components.relevance.model.spec import load_experts
from components.relevance.packed.attention import packed_attention, reference_attention
from components.relevance.packed.norm import RmsNorm, SumNorm
from components.relevance.packed.packs import capacity, packs
from components.relevance.packed.runner import PackedRunner
from components.relevance.packed.shape import TILE, AttentionShape
from components.relevance.packed.tokens import Tokens
from components.relevance.packed.trunk import PackedExpert
from components.relevance.scoring.batch import BatchMixture
from components.relevance.scoring.packed import PackedPairs, PackedScorer
from components.relevance.scoring.reference import ReferenceScorer
from pipelines.cli.main import app
from tests.relevance.relevance_world import Trained

SEPARATOR = 7


def pairs(lengths: list[int], seed: int = 0) -> list[list[int]]:
    random = np.random.default_rng(seed)
    ids = [random.integers(8, 300, length).tolist() for length in lengths]
    for own in ids:
        own[len(own) // 3] = SEPARATOR
    return ids


def searches(sizes: list[int], seed: int = 0) -> tuple[list[list[int]], np.ndarray]:
    """Pairs of searches with so many items each, which share a prefix of some length, and the queries' numbers."""
    random = np.random.default_rng(seed)
    ids: list[list[int]] = []
    for number, items in enumerate(sizes):
        prefix = random.integers(8, 300, random.integers(0, 45)).tolist()
        if number % 2:
            prefix[-1:] = [SEPARATOR]
        own = pairs(random.integers(1, 70, items).tolist(), seed + number + 1)
        ids += [(prefix + one)[: random.integers(1, 100)] for one in own]
    return ids, np.repeat(np.arange(len(sizes)), sizes)


def expert(family: str, folder: Path, pooling: str) -> Expert:
    from transformers import AutoModel

    write_tiny_expert(family, folder)
    bare = {"add_pooling_layer": False} if family in ("bert", "xlm-roberta") else {}
    trunk = AutoModel.from_pretrained(folder, dtype=torch.float32, **bare).eval()
    return Expert(trunk, pooling, SEPARATOR).requires_grad_(False)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("pooling", ["mean", "last", "segments"])
def test_a_packed_expert_gives_the_padded_ones_vectors(family: str, pooling: str, tmp_path: Path) -> None:
    padded = expert(family, tmp_path, pooling)
    ids = pairs([3, TILE, TILE + 1, 38, 150, 1, 90, 12] * 4)
    expected = padded(*pad(ids, 0))
    runner = PackedRunner(PackedExpert(padded, 160, torch.float32), 2 if pooling == "segments" else 1, (256, 512))
    found = torch.empty_like(expected)
    for pack in packs(Tokens.of(ids), runner.sizes, SEPARATOR if pooling == "segments" else None):
        found[torch.from_numpy(pack.rows)] = runner.run(pack)
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("family", ["gemma3", "qwen2", "qwen3"])
@pytest.mark.parametrize("pooling", ["mean", "last", "segments"])
def test_a_shared_prefix_changes_no_vector(family: str, pooling: str, tmp_path: Path) -> None:
    padded = expert(family, tmp_path, pooling)
    ids, queries_R = searches([6, 1, 10, 3, 20])
    expected = padded(*pad(ids, 0))
    runner = PackedRunner(PackedExpert(padded, 160, torch.float32), 2 if pooling == "segments" else 1, (128, 256))
    found = torch.empty_like(expected)
    made = runner.packs(Tokens.of(ids, queries_R), SEPARATOR if pooling == "segments" else None)
    assert sum(int(pack.parts_NS.sum()) for pack in made) < sum(map(len, ids))
    for pack in made:
        found[torch.from_numpy(pack.rows)] = runner.run(pack)
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=2e-5)


def test_a_trunk_that_sees_both_ways_shares_nothing(tmp_path: Path) -> None:
    runner = PackedRunner(PackedExpert(expert("bert", tmp_path, "mean"), 160, torch.float32), 1, (256,))
    ids, queries_R = searches([6, 10])
    assert sum(int(pack.parts_NS.sum()) for pack in runner.packs(Tokens.of(ids, queries_R), None)) == sum(map(len, ids))


@given(
    st.lists(st.integers(1, 12), min_size=1, max_size=8), st.integers(0, 9), st.sampled_from([(128,), (128, 256, 512)])
)
@settings(deadline=None, max_examples=60)
def test_a_prefix_stands_once_in_a_pack(items: list[int], seed: int, sizes: tuple[int, ...]) -> None:
    ids, queries_R = searches(items, seed)
    made = list(packs(Tokens.of(ids, queries_R), sizes, SEPARATOR))
    assert np.concatenate([pack.rows for pack in made]).tolist() == list(range(len(ids)))
    for pack in made:
        ends_N = pack.parts_NS.sum(dim=1).cumsum(0)
        empty = len(ends_N) - 1
        prefixes = set()
        for row, (own, prefix) in zip(pack.rows, pack.stretches_R2.tolist(), strict=False):
            spans = [slice(int(ends_N[n - 1]) if n else 0, int(ends_N[n])) for n in (prefix, own) if n != empty]
            assert [token for span in spans for token in pack.ids_T[span].tolist()] == ids[row]
            assert [at for span in spans for at in pack.positions_T[span].tolist()] == list(range(len(ids[row])))
            parts = (pack.parts_NS[own] + pack.parts_NS[prefix]).tolist()
            assert parts[0] == (ids[row].index(SEPARATOR) if SEPARATOR in ids[row] else len(ids[row]))
            own_tiles = pack.tiles_P5[(pack.tiles_P5[:, 0] == spans[-1].start) & (pack.tiles_P5[:, 1] > 0)].tolist()
            seen = [spans[0].start, spans[0].stop - spans[0].start] if len(spans) == 2 else [0, 0]
            assert [tile[3:] for tile in own_tiles] == [seen] * -(-(spans[-1].stop - spans[-1].start) // TILE)
            prefixes.add((int(queries_R[row]), prefix))
        assert len(prefixes) == len(set(queries_R[pack.rows].tolist()))


def test_parts_that_are_joined_keep_their_queries_apart() -> None:
    part = Tokens.of([[1, 2, 3, 4, 5, 6]] * 2, np.array([0, 0]))
    joined = Tokens.joined([part, part, part])
    assert joined.queries_R is not None
    assert (np.diff(joined.queries_R) != 0).tolist() == [False, True, False, True, False]
    assert Tokens.joined([part, Tokens.of([[1]])]).queries_R is None


def test_a_pack_with_room_left_is_better_than_two_where_a_pack_costs_much() -> None:
    def chosen(left: int, overhead: int) -> list[int]:
        ids = [[9] * 10] * (left // 10)
        return [len(pack.ids_T) for pack in packs(Tokens.of(ids), (500, 1000, 2000, 2500, 4000), None, False, overhead)]

    assert chosen(2190, 1500) == [2500]
    assert chosen(2490, 0) == [2500]
    assert chosen(4500, 1500) == [4000, 500]
    assert chosen(1290, 10) == [1000, 500]
    assert chosen(1290, 1500) == [2000]
    assert chosen(12_000, 1500) == [4000] * 3


@pytest.mark.parametrize(("window", "causal"), [(0, True), (0, False), (20, True)])
def test_attention_stays_inside_a_pair_and_its_window(window: int, causal: bool) -> None:
    """By gradients: what a token reads is what its output depends on."""
    pack = next(packs(Tokens.of(pairs([50, 70])), (128,), None))
    qkv_TE = torch.randn(128, 3 * 8, requires_grad=True)
    shape = AttentionShape(1, 1, 8, 8**-0.5, causal, window)
    out_TD = reference_attention(qkv_TE, pack.tiles_P5, None, None, None, shape)
    token = 50 + 40
    out_TD[token].sum().backward()
    assert qkv_TE.grad is not None
    read = np.flatnonzero(qkv_TE.grad[:, 8:].abs().sum(dim=1)).tolist()
    first = token - window + 1 if window else 50
    assert read == list(range(first, token + 1 if causal else 120))


def test_the_operator_is_the_reference_on_a_cpu() -> None:
    pack = next(packs(Tokens.of(pairs([40, 9])), (64,), None))
    qkv_TE, gain_H = torch.randn(64, 4 * 8), torch.rand(8) + 0.5
    angle = torch.rand(64, 4)
    rotary_LH = torch.cat([angle.cos(), angle.sin()], dim=1)
    shape = AttentionShape(2, 1, 8, 0.3, causal=True)
    arguments = (qkv_TE, pack.tiles_P5, gain_H, gain_H, rotary_LH, shape)
    torch.testing.assert_close(packed_attention(*arguments), reference_attention(*arguments))
    tensors = (*arguments[:-1], 2, 1, 8, 0.3, True, 0, 1e-6)
    torch.library.opcheck(
        torch.ops.archipelago.packed_attention, tensors, test_utils=("test_schema", "test_faketensor")
    )


def test_the_norm_operator_is_two_norms() -> None:
    x_TD, added_TD, before_D, after_D = torch.randn(3, 8), torch.randn(3, 8), torch.rand(8), torch.rand(8)
    sum_TD, normed_TD = SumNorm(RmsNorm(before_D, 1e-6), RmsNorm(after_D, 1e-6), one_kernel=True)(x_TD, added_TD)
    expected_TD = x_TD + functional.rms_norm(added_TD, (8,), before_D, 1e-6)
    torch.testing.assert_close(sum_TD, expected_TD)
    torch.testing.assert_close(normed_TD, functional.rms_norm(expected_TD, (8,), after_D, 1e-6))
    tensors = (x_TD, added_TD, before_D, after_D, 1e-6)
    torch.library.opcheck(torch.ops.archipelago.sum_norm, tensors, test_utils=("test_schema", "test_faketensor"))


def test_the_gelu_operator_is_a_product_and_its_gelu() -> None:
    tensors = (torch.randn(3, 8), torch.randn(12, 8), torch.randn(12))
    torch.testing.assert_close(
        torch.ops.archipelago.gelu_product(*tensors), functional.gelu(functional.linear(*tensors))
    )
    torch.library.opcheck(torch.ops.archipelago.gelu_product, tensors, test_utils=("test_schema", "test_faketensor"))


@given(st.lists(st.integers(1, 60), min_size=1, max_size=80), st.sampled_from([(64,), (64, 256), (64, 128, 512)]))
@settings(deadline=None, max_examples=60)
def test_packs_hold_every_token_once_and_never_too_many(lengths: list[int], sizes: tuple[int, ...]) -> None:
    ids = pairs(lengths)
    made = list(packs(Tokens.of(ids), sizes, SEPARATOR))
    assert np.concatenate([pack.rows for pack in made]).tolist() == list(range(len(ids)))
    for pack in made:
        own = [ids[row] for row in pack.rows]
        size, used = len(pack.ids_T), sum(map(len, own))
        assert size in sizes and used <= size and len(own) <= capacity(size)[0]
        assert pack.ids_T[:used].tolist() == [token for tokens in own for token in tokens]
        assert pack.positions_T[:used].tolist() == [place for tokens in own for place in range(len(tokens))]
        assert pack.parts_NS.sum(dim=1).tolist() == [len(t) for t in own] + [0] * (capacity(size)[0] + 1 - len(own))
        assert pack.parts_NS[: len(own), 0].tolist() == [tokens.index(SEPARATOR) for tokens in own]
        tiles = pack.tiles_P5[pack.tiles_P5[:, 1] > 0].tolist()
        covered = [
            at
            for start, length, offset, *_ in tiles
            for at in range(start + offset, start + min(offset + TILE, length))
        ]
        assert covered == list(range(used))
        assert (pack.tiles_P5[len(tiles) :] == 0).all()  # unused ones stand at the end: the kernel stops there


def test_little_of_a_pack_is_left_empty() -> None:
    random = np.random.default_rng(0)
    ids = pairs(np.clip(random.lognormal(np.log(38), 0.45, 3000), 12, 160).astype(int).tolist())
    made = list(packs(Tokens.of(ids), (2048, 4096, 8192, 16384), None))
    assert sum(map(len, ids)) / sum(len(pack.ids_T) for pack in made) > 0.98


def test_a_pair_without_a_separator_is_all_query(tmp_path: Path) -> None:
    ids = [[9, 10, 11], [9, SEPARATOR, 11]]
    pack = next(packs(Tokens.of(ids), (64,), SEPARATOR))
    assert pack.parts_NS[:2].tolist() == [[3, 0], [1, 2]]


@pytest.mark.parametrize("lengths", [[65], [3, 0]])
def test_pairs_that_no_pack_can_hold_are_refused(lengths: list[int]) -> None:
    with pytest.raises(AssertionError, match="1 token at least, and fit"):
        next(packs(Tokens.of([[9] * length for length in lengths]), (16, 64), None))


def test_an_unknown_architecture_is_refused(tmp_path: Path) -> None:
    from transformers import GPT2Config, GPT2Model

    trunk = GPT2Model(GPT2Config(n_layer=1, n_head=2, n_embd=8, vocab_size=20))
    with pytest.raises(BadInput, match=r"does not know gpt2, only bert, .*; use precision float32"):
        PackedExpert(Expert(trunk, "mean"), 16)


def test_texts_get_the_vectors_of_the_padded_encoder(trained: Trained) -> None:
    pairs = [("ID", f"sepatu {number}", f"tas merah {number % 7}") for number in range(50)]
    for spec in load_experts(trained.experts):
        expected = TextEncoder(trained.experts / spec.name, spec).encode_pairs(pairs)
        found = PackedTextEncoder(trained.experts / spec.name, spec, "bfloat16").encode_pairs(pairs, "encode")
        error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
        assert 0 < error < 0.02, (spec.name, error)
        assert PackedTextEncoder(trained.experts / spec.name, spec, "bfloat16").encode([]).shape == (0, spec.dim)


def test_eight_bit_floats_need_a_gpu(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("components.relevance.encoding.packed_expert._multiplies_float8", lambda: False)
    spec = load_experts(trained.experts)[0]
    with pytest.raises(BadInput, match="float8 needs a GPU of compute capability"):
        PackedTextEncoder(trained.experts / spec.name, spec, "float8")


def test_encoding_in_bfloat16_goes_through_packs(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from components.relevance.encode import encode

    monkeypatch.setenv("ARCHIPELAGO_CACHE", str(tmp_path / "cache"))
    config = trained.config.model_copy(update={"precision": "bfloat16"})
    encode(trained.log, config, tmp_path / "encodings", tmp_path / "experts")
    for spec in load_experts(trained.experts):
        exact, found = (np.load(root / f"{spec.name}.npy") for root in (trained.encodings, tmp_path / "encodings"))
        assert 0 < np.linalg.norm(found - exact) / np.linalg.norm(exact) < 0.02


def test_batch_scores_are_the_references(trained: Trained, tmp_path: Path) -> None:
    """Repeats and order change nothing; bfloat16 changes little."""
    log = pq.read_table(trained.log / "judgments.parquet", columns=["market", "query", "title"]).to_pandas()
    many = pd.concat([log, log.sample(60, random_state=0)]).sample(frac=1, random_state=1)
    columns = [many[name].tolist() for name in ("market", "query", "title")]
    expected, chosen = ReferenceScorer.load(trained.model, trained.experts).score(*columns)
    found, experts = PackedScorer(trained.model, trained.experts, "bfloat16").score(*columns)
    np.testing.assert_array_equal(experts, chosen)
    np.testing.assert_allclose(found, expected, atol=5e-3)

    log.assign(place=range(len(log))).to_csv(tmp_path / "pairs.csv", index=False)
    command = ["score", "--in", str(tmp_path / "pairs.csv"), "--out", str(tmp_path / "scores.parquet")]
    from_model = ["--model", str(trained.model), "--experts", str(trained.experts)]
    result = CliRunner().invoke(app, [*command, *from_model])
    assert result.exit_code == 0, result.output
    scores = pq.read_table(tmp_path / "scores.parquet").to_pandas()
    assert scores["place"].astype(int).tolist() == list(range(len(log)))
    again, _ = PackedScorer(trained.model, trained.experts, "bfloat16").score(*(log[name].tolist() for name in log))
    np.testing.assert_allclose(scores["relevance"], again, atol=1e-6)


def test_shards_are_scored_apart_as_one_file_is_and_once_each(trained: Trained, tmp_path: Path) -> None:
    log = pq.read_table(trained.log / "judgments.parquet", columns=["market", "query", "title"])
    (tmp_path / "pairs").mkdir()
    for name, start in (("b", 0), ("a", 40)):
        pq.write_table(log.slice(start, 40), tmp_path / "pairs" / f"{name}.parquet")
    (tmp_path / "pairs" / "README.txt").write_text("not a shard")
    pairs, out = f"file://{tmp_path / 'pairs'}", str(tmp_path / "out")
    assert find_shards.python_func(pairs, out) == ["a.parquet", "b.parquet"]
    places = {"pairs": pairs, "model": str(trained.model), "experts": str(trained.experts), "out": out}
    score = partial(publish_scores.python_func, **places, precision="bfloat16")
    assert [score(shard=name) for name in ("a.parquet", "b.parquet")] == [40, 40]
    columns = [log.slice(0, 80)[name].to_pylist() for name in ("market", "query", "title")]
    expected, _ = PackedScorer(trained.model, trained.experts, "bfloat16").score(*columns)
    found = [pq.read_table(tmp_path / "out" / f"{name}.parquet")["relevance"].to_numpy() for name in ("b", "a")]
    np.testing.assert_allclose(np.concatenate(found), expected, atol=5e-3)

    (tmp_path / "out" / "b.parquet").unlink()  # as a run that was cut off leaves it
    before = (tmp_path / "out" / "a.parquet").stat().st_mtime_ns
    assert [score(shard=name) for name in ("a.parquet", "b.parquet")] == [0, 40]
    assert (tmp_path / "out" / "a.parquet").stat().st_mtime_ns == before
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.parquet", "b.parquet"]
    with pytest.raises(BadInput, match="where the pairs lie"):
        find_shards.python_func(out, f"{out}/")
    with pytest.raises(BadInput, match=r"no file \*\.parquet"):
        find_shards.python_func(str(trained.log.parent), out)


def test_score_takes_a_release_or_a_model(tmp_path: Path) -> None:
    files = ["--in", str(tmp_path / "pairs.csv"), "--out", str(tmp_path / "scores.parquet")]
    result = CliRunner().invoke(app, ["score", *files, "--model", str(tmp_path)])
    assert isinstance(result.exception, BadInput)
    assert "either --release, or --model and --experts" in str(result.exception)


def test_a_mixture_needs_its_own_experts(trained: Trained, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"not the experts that the relevance model .* was trained with"):
        PackedScorer(trained.model, trained.encodings, "bfloat16")
    with pytest.raises(BadInput, match=r"manifest\.json"):
        PackedScorer(tmp_path, trained.experts, "bfloat16")


@pytest.mark.parametrize(("family", "kinds"), [("gemma3", 2), ("qwen2", 1), ("bert", 2)])
def test_a_kind_of_block_is_compiled_once(family: str, kinds: int) -> None:
    """However many there are: Gemma has those that see a window and those that see all, BERT embeddings besides."""
    from transformers import AutoModel

    trunk = AutoModel.from_config(tiny_architecture(family, 400, layers=12), dtype=torch.float32).eval()
    padded = Expert(trunk, "mean").requires_grad_(False)
    packed, graphs = PackedExpert(padded, 64, torch.float32), []

    def counted(graph: torch.fx.GraphModule, _: list[torch.Tensor]) -> Callable[..., object]:
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    packed.compile_blocks(backend=counted)
    ids = pairs([5, 40, 33])
    for size in (128, 256):
        found = packed(*next(packs(Tokens.of(ids), (size,), None)).inputs)[:3]
        torch.testing.assert_close(found, padded(*pad(ids, 0)), atol=2e-5, rtol=2e-5)
    assert len(graphs) == kinds


def test_the_next_piece_is_prepared_while_this_one_is_used() -> None:
    started = [threading.Event() for _ in range(3)]

    def prepare(piece: int) -> int:
        started[piece].set()
        return piece * piece

    for ahead in (1, 2):
        for event in started:
            event.clear()
        for piece, ready in prepared_ahead(prepare, range(3), ahead):
            assert ready == piece * piece
            assert all(event.wait(timeout=5) for event in started[: piece + 1 + ahead])
    with pytest.raises(ZeroDivisionError):
        list(prepared_ahead(lambda piece: 1 // piece, [0]))


def test_scores_do_not_depend_on_who_tokenises(trained: Trained) -> None:
    scorer = PackedScorer(trained.model, trained.experts, "bfloat16")
    workers = TokenisingWorkers([(trained.experts / own.spec.name, own.spec) for own in scorer.experts], 2)
    apart = [PackedPairs(own.encoder, partial(workers.tokenise, n), scorer.cut) for n, own in enumerate(scorer.experts)]
    columns = [["ID", "TH"] * 9, ["Tas wanita", "เคสโทรศัพท์"] * 9, [f" Tas {n} " for n in range(18)]]
    many = [column * 60 for column in columns]  # more than a worker takes at a time
    for own, other in zip(apart, scorer.experts, strict=True):
        for one, same in zip(own.prepare(*many), other.prepare(*many), strict=True):
            assert all(torch.equal(*both) for both in zip(one.inputs, same.inputs, strict=True))
    grams = [f"{query} {place}" for place, query in enumerate(many[1])]
    assert (workers.ngrams(grams, 4096, 64) == query_ngrams(grams, 4096, 64)).all()
    lexical = scorer.mixture.lexical.logits
    batch = BatchMixture(normalise_query, normalise_title, scorer.route, apart, lexical, scorer.fuse, ahead=2)
    found = batch.score(*columns)
    for own, expected in zip(found, scorer.score(*columns), strict=True):
        np.testing.assert_allclose(own, expected, atol=1e-6)


def test_workers_end_with_the_last_expert(trained: Trained) -> None:
    spec = load_experts(trained.experts)[0]
    workers = TokenisingWorkers([(trained.experts / spec.name, spec)], 1)
    workers.tokenise(0, ["ID"], ["tas"], ["Tas"])
    before = multiprocessing.active_children()
    gc.disable()
    try:
        del workers
        deadline = time.monotonic() + 30
        while len(multiprocessing.active_children()) >= len(before) and time.monotonic() < deadline:
            time.sleep(0.1)
    finally:
        gc.enable()
    assert len(multiprocessing.active_children()) < len(before)


def test_a_scorer_is_gone_when_nobody_holds_it(trained: Trained) -> None:
    """Not at some later collection: its workers would live on until then."""
    scorer = PackedScorer(trained.model, trained.experts, "bfloat16")
    scorer.score(["ID"], ["tas"], ["Tas"])
    expert = weakref.ref(scorer.experts[0])
    gc.disable()
    try:
        del scorer
        assert expert() is None
    finally:
        gc.enable()


def test_read_experts_pack_with_their_own_separator(trained: Trained) -> None:
    spec = load_experts(trained.experts)[0]
    assert spec.pooling == "segments"
    PackedExpert(read_expert(trained.experts / spec.name, spec), spec.max_tokens)


def test_the_gpu_kernel_is_the_reference() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    random = np.random.default_rng(0)
    lone, sharing = pairs(random.integers(1, 160, 20).tolist()), searches([9, 20])
    tokens = Tokens.of([*lone, *sharing[0]], np.concatenate([np.arange(20), 20 + sharing[1]]))
    pack = next(packs(tokens, (4096,), None))
    assert (pack.tiles_P5[:, 4] > 0).any()
    tiles_P5, used = pack.tiles_P5.cuda(), int(pack.parts_NS.sum())
    for heads, kv_heads, width, causal, window in ((4, 2, 128, True, 0), (4, 1, 256, True, 64), (4, 4, 32, False, 0)):
        for dtype, most in ((torch.bfloat16, 5e-3), (torch.float32, 1e-5)):
            qkv_TE = torch.randn(4096, (heads + 2 * kv_heads) * width, device="cuda", dtype=dtype)
            gain_H = torch.rand(width, device="cuda") + 0.5 if causal else None
            angle = torch.rand(160, width // 2, device="cuda")
            rotary_LH = torch.cat([angle.cos(), angle.sin()], dim=1) if causal else None
            shape = AttentionShape(heads, kv_heads, width, width**-0.5, causal, window)
            expected = reference_attention(qkv_TE.float(), tiles_P5, gain_H, gain_H, rotary_LH, shape)[:used]
            found = packed_attention(qkv_TE, tiles_P5, gain_H, gain_H, rotary_LH, shape)[:used].float()
            assert (found - expected).norm() / expected.norm() < most


@pytest.mark.parametrize("width", [640, 1152, 2560])
def test_two_norms_in_one_kernel_are_two_norms(width: int) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    before, after = (RmsNorm(torch.rand(width, device="cuda") + 0.5, 1e-6) for _ in range(2))
    x_TD, added_TD = (torch.randn(777, width, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    expected = SumNorm(before, after, one_kernel=False)(x_TD.float(), added_TD.float())
    found = SumNorm(before, after, one_kernel=True)(x_TD, added_TD)
    for wanted, got in zip(expected, found, strict=True):
        assert (got.float() - wanted).norm() / wanted.norm() < 5e-3


@pytest.mark.parametrize(("float8", "most"), [(False, 0.02), (True, 0.15)])
@pytest.mark.parametrize("family", ["gemma3", "qwen3", "bert"])
def test_replayed_packs_are_the_padded_vectors(family: str, float8: bool, most: float) -> None:
    """Different packs one after another: a short one leaves nothing of a long one."""
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    from transformers import AutoModel, BertConfig, Gemma3TextConfig, Qwen3Config

    sizes = {"hidden_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 256}
    kind = {"gemma3": Gemma3TextConfig, "qwen3": Qwen3Config, "bert": BertConfig}[family]
    decoder = {} if family == "bert" else {"num_key_value_heads": 2, "head_dim": 32}
    config = kind(**sizes, **decoder, vocab_size=300)
    trunk = AutoModel.from_config(config, dtype=torch.float32).eval().cuda()
    padded = Expert(trunk, "mean").requires_grad_(False)
    runner = PackedRunner(PackedExpert(padded, 160, float8=float8), 1, (512, 2048))
    for seed, lengths in enumerate(([150] * 12, [7, 3, 40], [33] * 60)):
        ids = pairs(lengths, seed)
        expected = padded(*(tensor.cuda() for tensor in pad(ids, 0)))
        found = torch.cat([runner.run(pack).clone() for pack in packs(Tokens.of(ids), runner.sizes, None, pinned=True)])
        assert (found - expected).norm() / expected.norm() < most
