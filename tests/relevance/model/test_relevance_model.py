"""Properties of router, fusion heads and expert that hold for any weights."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from components.contracts.text import query_ngrams
from components.relevance.experts.tiny import FAMILIES, write_tiny_expert
from components.relevance.model.expert import Expert, LastTokenPooling, MeanPooling, SegmentPooling
from components.relevance.model.fusion import (
    ConcatFusion,
    SingleExpert,
    SlotNorm,
    WeightedAverage,
    fused_parameters,
    head_parameters,
    new_fusion,
)
from components.relevance.model.mixture import load_mixture, new_mixture
from components.relevance.model.routed import Routed
from components.relevance.model.router import (
    EndToEndRouter,
    RuleRouter,
    SoftRouter,
    choice_mask,
    load_balance_loss,
    new_router,
)
from components.relevance.model.spec import FusionSpec, MixtureSpec, RouterSpec

SPEC = MixtureSpec(
    markets=("ID", "TH", "VN"),
    experts=("a", "b", "c"),
    dims=(5, 7, 4),
    top_k=2,
    router=RouterSpec(ngram_buckets=64, max_ngrams=12, width=6),
    fusion=FusionSpec(hidden=(9, 5), input_dropout=0.1, dropout=0.1),
)
ROUTERS = ("rule", "pseudo_label", "end_to_end", "soft")
NO_WORDS = torch.zeros(500)  # logits of a lexical expert that is silent
QUERIES = ["sepatu lari", "รองเท้าวิ่ง", "giày chạy bộ", "a"]


def router_inputs(queries: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    ngrams = torch.from_numpy(query_ngrams(queries, SPEC.router.ngram_buckets, SPEC.router.max_ngrams))
    return ngrams, torch.arange(len(queries)) % 3


def random_vectors(rows: int, seed: int = 0) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(rows, dim, generator=generator) for dim in SPEC.dims)


def fusion() -> ConcatFusion:
    torch.manual_seed(1)
    head = ConcatFusion(SPEC).eval()
    torch.nn.init.normal_(head.head.linear.weight)
    for null in head.nulls:
        torch.nn.init.normal_(null)
    return head


@given(st.lists(st.text(min_size=1, max_size=30), min_size=1, max_size=8), st.integers(1, 3), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_router_picks_exactly_k_distinct_experts(queries: list[str], top_k: int, seed: int) -> None:
    torch.manual_seed(seed)
    router = EndToEndRouter(replace(SPEC, top_k=top_k)).eval()
    experts, mask = router(*router_inputs(queries))
    assert experts.shape == (len(queries), top_k)
    assert experts.dtype == torch.int64
    assert (mask.sum(dim=1) == top_k).all()
    assert torch.equal(mask, choice_mask(experts, 3))
    logits = router.logits(*router_inputs(queries))
    chosen = logits.gather(1, experts)
    assert (chosen.diff(dim=1) <= 0).all(), "best expert first"
    assert (chosen.min(dim=1).values >= logits.masked_fill(mask.bool(), -torch.inf).max(dim=1).values).all()


def router_of(kind: str) -> torch.nn.Module:
    torch.manual_seed(0)
    router = new_router(replace(SPEC, router=replace(SPEC.router, kind=kind)))
    if isinstance(router, RuleRouter):
        router.preference.copy_(torch.tensor([[0.9, 0.5, 0.7], [0.1, 0.8, 0.3], [0.6, 0.5, 0.4]]))
    return router.eval()


@pytest.mark.parametrize("kind", ROUTERS)
def test_a_query_has_one_choice_whatever_stands_beside_it(kind: str) -> None:
    router = router_of(kind)
    ngrams, market = router_inputs(QUERIES)
    _, together = router(ngrams, market)
    alone = torch.cat([router(ngrams[i : i + 1], market[i : i + 1])[1] for i in range(len(QUERIES))])
    torch.testing.assert_close(together, alone)


def test_router_depends_on_market_and_query() -> None:
    torch.manual_seed(0)
    router = EndToEndRouter(SPEC).eval()
    ngrams, market = router_inputs(QUERIES)
    logits = router.logits(ngrams, market)
    assert not torch.allclose(logits, router.logits(ngrams, (market + 1) % 3))
    assert not torch.allclose(logits, router.logits(ngrams.flip(0), market))


def test_sampled_choice_is_hard_with_a_soft_gradient() -> None:
    torch.manual_seed(0)
    logits = torch.randn(50, 3, requires_grad=True)
    mask = EndToEndRouter(SPEC).train_mask(logits, temperature=0.5)
    values = mask.detach()
    assert torch.allclose(values.sum(dim=1), torch.full((50,), 2.0), atol=1e-5)
    assert torch.allclose(values, values.round(), atol=1e-6)
    (mask * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert logits.grad is not None and logits.grad.abs().sum() > 0


def test_the_rule_reads_the_market_alone() -> None:
    router = router_of("rule")
    ngrams, market = router_inputs(QUERIES)
    experts, mask = router(ngrams, market)
    assert experts.tolist() == [[0, 2], [1, 2], [0, 1], [0, 2]]
    assert torch.equal(mask, router(ngrams.flip(0), market)[1])


def test_soft_weights_have_mean_one() -> None:
    router = router_of("soft")
    experts, weights = router(*router_inputs(QUERIES))
    assert sorted(experts[0].tolist()) == [0, 1, 2]
    torch.testing.assert_close(weights.mean(dim=1), torch.ones(len(QUERIES)))
    assert isinstance(router, SoftRouter)
    assert torch.equal(router.train_mask(torch.zeros(2, 3), 1.0), torch.ones(2, 3)), "no preference, no weighting"


@pytest.mark.parametrize("kind", ROUTERS)
def test_only_a_router_that_learns_gets_a_gradient(kind: str) -> None:
    spec = replace(SPEC, router=replace(SPEC.router, kind=kind))
    network = Routed(router_of(kind), new_fusion("concat", spec)).train()
    torch.nn.init.normal_(network.fusion.head.linear.weight)
    logits, balance = network(*router_inputs(QUERIES), random_vectors(4), 0.7)
    (logits.sum() + balance).backward()
    touched = any(p.grad is not None and p.grad.abs().sum() > 0 for p in network.router.parameters())
    assert touched is (kind in ("end_to_end", "soft"))


def test_load_balance_loss_is_least_where_load_is_even() -> None:
    even = load_balance_loss(torch.zeros(6, 3), torch.eye(3).repeat(2, 1))
    skewed = load_balance_loss(torch.tensor([[9.0, 0, 0]]).repeat(6, 1), torch.eye(3)[:1].repeat(6, 1))
    assert even == pytest.approx(1.0)
    assert skewed > 2.9


def test_unselected_slots_have_no_influence() -> None:
    head = fusion()
    mask = torch.tensor([[1.0, 0.0, 1.0]] * 6)
    vectors = tuple(v.requires_grad_() for v in random_vectors(6))
    out = head(*vectors, mask, NO_WORDS[: len(mask)])
    out.sum().backward()
    assert vectors[1].grad is not None and torch.count_nonzero(vectors[1].grad) == 0
    assert all(torch.count_nonzero(vectors[i].grad) > 0 for i in (0, 2))  # type: ignore[arg-type]
    zeroed = (vectors[0], torch.zeros_like(vectors[1]), vectors[2])
    assert torch.equal(out, head(*zeroed, mask, NO_WORDS[:6]))


def test_the_mask_itself_is_read() -> None:
    head = fusion()
    for null, norm, vectors in zip(head.nulls, head.norms, random_vectors(1), strict=True):
        null.data.copy_(norm(vectors)[0])  # null vectors equal to the slots: only the mask entries differ
    vectors = random_vectors(1)
    outs = {float(head(*vectors, torch.tensor([mask]), NO_WORDS[:1])) for mask in ([1.0, 1.0, 0.0], [1.0, 0.0, 1.0])}
    assert len(outs) == 2


def test_fusion_is_equivariant_and_blind_to_the_batch() -> None:
    head = fusion()
    vectors, mask = random_vectors(8), choice_mask(torch.tensor([[0, 1], [2, 0]] * 4), 3)
    out = head(*vectors, mask, NO_WORDS[: len(mask)])
    order = torch.randperm(8, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(
        head(*(v[order] for v in vectors), mask[order], NO_WORDS[:8]), out[order], atol=1e-6, rtol=0
    )
    torch.testing.assert_close(head(*(v[2:3] for v in vectors), mask[2:3], NO_WORDS[:1]), out[2:3], atol=1e-6, rtol=0)
    assert ((out > 0) & (out < 1)).all()


def test_weighted_average_is_a_linear_map_of_the_concatenation() -> None:
    torch.manual_seed(2)
    average, vectors = WeightedAverage(SPEC).eval(), random_vectors(7)
    mask = torch.tensor([[0.5, 0.2, 0.3]] * 7)
    slots = torch.cat([norm(v) for norm, v in zip(average.norms, vectors, strict=True)], dim=1)
    weights = [0.5, 0.2, 0.3]
    matrix = torch.cat([w * p.weight for w, p in zip(weights, average.projections, strict=True)], dim=1)  # type: ignore[operator]
    torch.testing.assert_close(average.combine(vectors, mask), slots @ matrix.T, atol=1e-5, rtol=0)
    assert torch.linalg.matrix_rank(matrix) < sum(SPEC.dims)


def test_comparators_have_heads_of_matching_size() -> None:
    wide = replace(SPEC, dims=(640, 384, 384), fusion=FusionSpec((128, 32), 0.1, 0.1))
    target = fused_parameters(ConcatFusion(wide))
    assert target == head_parameters(640 + 384 + 384 + 3, wide.fusion)
    comparators = [new_fusion(kind, wide) for kind in ("weighted_average", "gated_sum", "logit_average")]
    comparators += [SingleExpert(wide, slot) for slot in range(3)] + [SingleExpert(wide, 0, dim=1920)]
    for head in comparators:
        assert fused_parameters(head) == pytest.approx(target, rel=0.01), type(head).__name__


@pytest.mark.parametrize("kind", ["concat", "weighted_average", "gated_sum", "logit_average"])
def test_an_expert_that_was_not_chosen_has_no_influence(kind: str) -> None:
    torch.manual_seed(3)
    head = new_fusion(kind, SPEC).eval()
    vectors, mask = random_vectors(6), torch.tensor([[0.7, 0.0, 0.3]] * 6)
    other = (vectors[0], vectors[1] + 100.0, vectors[2])
    torch.testing.assert_close(head(*vectors, mask, NO_WORDS[: len(mask)]), head(*other, mask, NO_WORDS[:6]))
    changed = (vectors[0] + 1.0, vectors[1], vectors[2].flip(0))
    assert not torch.allclose(head(*vectors, mask, NO_WORDS[: len(mask)]), head(*changed, mask, NO_WORDS[:6]))


def test_a_logit_average_of_one_choice_is_that_experts_head() -> None:
    torch.manual_seed(3)
    head, vectors = new_fusion("logit_average", SPEC).eval(), random_vectors(5)
    for slot in range(3):
        alone = head.head[slot](head.norms[slot](vectors[slot]))  # type: ignore[index]
        mask = torch.nn.functional.one_hot(torch.tensor([slot] * 5), 3).float() * 0.4
        torch.testing.assert_close(head.logits(vectors, mask), alone)


def test_single_expert_reads_its_slot_only() -> None:
    torch.manual_seed(0)
    head, vectors, mask = SingleExpert(SPEC, 1).eval(), random_vectors(4), torch.ones(4, 3)
    out = head(*vectors, mask, NO_WORDS[: len(mask)])
    torch.testing.assert_close(
        out, head(torch.zeros_like(vectors[0]), vectors[1], torch.zeros_like(vectors[2]), mask, NO_WORDS[:4])
    )
    assert not torch.allclose(out, head(vectors[0], vectors[1].flip(0), vectors[2], mask, NO_WORDS[:4]))


def test_slot_norm_removes_common_offset_and_scale() -> None:
    offset, scale = torch.tensor([1000.0, -3.0, 0.0, 5.0]), torch.tensor([100.0, 0.01, 1.0, 2.0])
    raw = torch.randn(500, 4, generator=torch.Generator().manual_seed(0))
    plain, moved = SlotNorm(4), SlotNorm(4)
    plain.fit(raw)
    moved.fit(raw * scale + offset)
    torch.testing.assert_close(plain(raw), moved(raw * scale + offset), atol=1e-2, rtol=0)


@pytest.mark.parametrize("pooling", [MeanPooling(), LastTokenPooling(), SegmentPooling(7)])
def test_pooling_ignores_padding(pooling: torch.nn.Module) -> None:
    hidden, ids = torch.randn(2, 6, 4), torch.tensor([[1, 7, 2, 0, 0, 0], [1, 2, 3, 7, 4, 7]])
    mask = torch.tensor([[1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 1]])
    disturbed = hidden.clone()
    disturbed[0, 3:] = 99.0
    pooled = pooling(hidden, mask, ids)
    torch.testing.assert_close(pooled, pooling(disturbed, mask, ids))
    torch.testing.assert_close(pooled[:1], pooling(hidden[:1, :3], mask[:1, :3], ids[:1, :3]))


def test_last_token_pooling_takes_the_last_token() -> None:
    hidden = torch.arange(6.0).view(1, 6, 1)
    mask = torch.tensor([[1, 1, 1, 1, 0, 0]])
    assert float(LastTokenPooling()(hidden, mask, mask)) == 3.0


def test_segment_pooling_splits_at_the_first_separator() -> None:
    hidden = torch.tensor([[[1.0], [3.0], [10.0], [20.0], [99.0]]])
    mask, ids = torch.tensor([[1, 1, 1, 1, 0]]), torch.tensor([[5, 6, 7, 7, 0]])
    assert SegmentPooling(7)(hidden, mask, ids).tolist() == [[2.0, 15.0, 13.0]]
    without = SegmentPooling(8)(hidden, mask, ids).tolist()
    assert without == [[8.5, 0.0, 8.5]], "an input whose tail was cut before the item"


def test_mixture_round_trip(tmp_path: Path) -> None:
    torch.manual_seed(4)
    mixture = new_mixture(SPEC)
    mixture.fusion.calibration.copy_(torch.tensor([1.7, 0.4, -0.2]))
    mixture.fusion.fit_norms(random_vectors(30, seed=5))
    mixture.router.eval(), mixture.fusion.eval()
    mixture.save(tmp_path)
    loaded = load_mixture(tmp_path)
    assert loaded.spec == SPEC
    inputs = (*router_inputs(QUERIES), random_vectors(4), torch.randn(4))
    for ours, theirs in zip(mixture.score(*inputs), loaded.score(*inputs), strict=True):
        assert torch.equal(ours, theirs)


def export(module: torch.nn.Module, args: tuple[torch.Tensor, ...], shapes: object, path: Path) -> object:
    import onnxruntime

    torch.onnx.export(module, args, path, dynamo=True, dynamic_shapes=shapes, verbose=False)
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def run_onnx(session: object, args: tuple[torch.Tensor, ...]) -> list[np.ndarray]:
    names = [entry.name for entry in session.get_inputs()]  # type: ignore[attr-defined]
    return session.run(None, dict(zip(names, (a.numpy() for a in args), strict=True)))  # type: ignore[attr-defined, no-any-return]


def test_router_and_fusion_export_to_onnx(tmp_path: Path) -> None:
    torch.manual_seed(0)
    batch = torch.export.Dim("batch", min=1, max=4096)
    args = router_inputs(QUERIES)
    for kind in ROUTERS:
        router = router_of(kind)
        session = export(router, args, {"ngrams": {0: batch}, "market": {0: batch}}, tmp_path / f"{kind}.onnx")
        for queries in (QUERIES, QUERIES[:1], QUERIES * 5):
            experts, mask = run_onnx(session, router_inputs(queries))
            expected_experts, expected_mask = router(*router_inputs(queries))
            np.testing.assert_array_equal(experts, expected_experts)
            np.testing.assert_allclose(mask, expected_mask.detach(), atol=1e-6)

    head = fusion()
    head.calibration.copy_(torch.tensor([1.3, 0.6, -0.2]))
    inputs = (*random_vectors(4), choice_mask(torch.tensor([[0, 1]] * 4), 3), torch.randn(4))
    session = export(head, inputs, {"inputs": tuple({0: batch} for _ in inputs)}, tmp_path / "fusion.onnx")
    for rows in (1, 4, 9):
        inputs = (*random_vectors(rows, seed=rows), choice_mask(torch.tensor([[2, 1]] * rows), 3), torch.randn(rows))
        np.testing.assert_allclose(run_onnx(session, inputs)[0], head(*inputs).detach(), atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_expert_exports_to_onnx(family: str, tmp_path: Path) -> None:
    from transformers import AutoModel

    write_tiny_expert(family, tmp_path)
    expert = (
        Expert(AutoModel.from_pretrained(tmp_path, dtype=torch.float32), "segments", 9).eval().requires_grad_(False)
    )
    expert.trunk.config.use_cache = False
    batch, length = torch.export.Dim("batch", min=1, max=1024), torch.export.Dim("length", min=2, max=256)
    shape = {0: batch, 1: length}
    ids, mask = torch.randint(4, 300, (3, 9)), torch.ones(3, 9, dtype=torch.int64)
    mask[1, 5:] = 0
    session = export(expert, (ids, mask), {"input_ids": shape, "attention_mask": shape}, tmp_path / "expert.onnx")
    for rows, tokens in ((3, 9), (1, 4), (5, 40)):
        ids, mask = torch.randint(4, 300, (rows, tokens)), torch.ones(rows, tokens, dtype=torch.int64)
        mask[0, tokens // 2 :] = 0
        np.testing.assert_allclose(run_onnx(session, (ids, mask))[0], expert(ids, mask), atol=1e-5)
