"""What each domain's samples may and may not teach (HHSFT: DREF, DAPGA and the loss)."""

from dataclasses import replace

import pytest
import torch
from ranking_world import CATEGORICAL_COLUMN, random_features
from torch import Tensor

from components.contracts.markets import DOMAIN_CODES, DOMAINS
from components.ranking.model.esuif import DAPGA
from components.ranking.model.rankers import DOMAIN_COLUMN, HHSFT, build_ranker, domain_loss
from components.ranking.model.spec import RankerSpec

SPEC = RankerSpec(embedding_dim=4, token_width=8, gfa_rank=6, gfa_width=8, sample_width=12, expert_width=8, dropout=0)
WEIGHTS = torch.tensor([1.0, 0.5, 0.5], dtype=torch.float64)  # doubles, as some gradients are tiny
ROWS = 24


def inputs(domains: Tensor, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    features = random_features(len(domains), seed)
    categorical = torch.from_numpy(features.categorical)
    categorical[:, CATEGORICAL_COLUMN["domain_code"]] = domains
    return torch.from_numpy(features.numeric).double(), categorical, torch.from_numpy(features.sequences)


def gradients(ranker: HHSFT, batch: tuple[Tensor, Tensor, Tensor], labels: Tensor) -> dict[str, Tensor]:
    ranker.zero_grad()
    domain_loss(ranker(*batch), labels, batch[1][:, DOMAIN_COLUMN], WEIGHTS).backward()
    return {name: torch.zeros_like(p) if p.grad is None else p.grad.clone() for name, p in ranker.named_parameters()}


@pytest.fixture
def ranker() -> HHSFT:
    torch.manual_seed(0)
    built = build_ranker(replace(SPEC, id_dropout=0))
    assert isinstance(built, HHSFT)
    return built.double()


@pytest.fixture
def labels() -> Tensor:
    return torch.randint(0, 2, (ROWS, 2), generator=torch.Generator().manual_seed(1)).double()


def grouped(found: dict[str, Tensor]) -> dict[str, Tensor]:
    """Gradients of what each domain owns: DREF's experts and gates, DAPGA's experts and heads; first axis: domain."""
    return {n: g for n, g in found.items() if any(part in n for part in ("experts", "gates", "heads"))}


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_domain_gives_other_domains_experts_gates_and_heads_no_gradient(
    ranker: HHSFT, labels: Tensor, domain: str
) -> None:
    own = DOMAIN_CODES[domain]
    found = grouped(gradients(ranker, inputs(torch.full((ROWS,), own)), labels))
    assert len(found) == 16  # f_d, gates, g_d, heads: two maps each, weight and bias
    for name, gradient in found.items():
        others = [k for k in range(len(DOMAINS)) if k != own]
        assert torch.count_nonzero(gradient[others]) == 0, name
        if name != "dref.gates.rise.bias_G1O":
            assert torch.count_nonzero(gradient[own]) > 0, name


def test_every_domain_teaches_what_is_shared(ranker: HHSFT, labels: Tensor) -> None:
    for domain in range(len(DOMAINS)):
        found = gradients(ranker, inputs(torch.full((ROWS,), domain)), labels)
        for name in ("dref.shared.0.weight", "hhfi.gfa.ffn.0.weight", "dapga.query.weight", "dapga.personal.0.weight"):
            assert torch.count_nonzero(found[name]) > 0, name


def test_permuting_or_changing_other_domains_rows_leaves_a_domains_gradients(ranker: HHSFT, labels: Tensor) -> None:
    domains = torch.arange(ROWS) % 3
    batch = inputs(domains)
    before = grouped(gradients(ranker, batch, labels))
    order = torch.arange(ROWS)
    others = torch.nonzero(domains != 0).squeeze(1)
    order[others] = others[torch.randperm(len(others), generator=torch.Generator().manual_seed(2))]
    permuted = grouped(gradients(ranker, tuple(x[order] for x in batch), labels[order]))  # type: ignore[arg-type]
    own = domains == 0
    fresh = inputs(domains, seed=9)
    for kept, replaced in zip(batch, fresh, strict=True):
        replaced[own] = kept[own]
    changed = grouped(gradients(ranker, fresh, torch.where(own[:, None], labels, 1 - labels)))
    for name, gradient in before.items():
        torch.testing.assert_close(permuted[name][0], gradient[0], atol=1e-16, rtol=1e-6)
        torch.testing.assert_close(changed[name][0], gradient[0], atol=1e-16, rtol=1e-6)
        assert not torch.allclose(changed[name][1], gradient[1], atol=0, rtol=1e-2), name


def test_dapga_reads_other_domains_experts_but_sends_no_gradient_through_them() -> None:
    torch.manual_seed(0)
    dapga = DAPGA(SPEC)
    e = torch.randn(5, SPEC.expert_width, requires_grad=True)
    domain = torch.zeros(5, dtype=torch.int64)
    dapga.fuse(e, domain).sum().backward()
    with_all = e.grad.clone()

    with torch.no_grad():
        before = dapga.fuse(e, domain)
        dapga.experts.fall.bias_G1O[1] += 1.0
        assert not torch.allclose(dapga.fuse(e, domain), before)  # read
        dapga.experts.fall.bias_G1O[1] -= 1.0

    # The gradient to e is that of the same output with the others' values held as constants.
    constants = dapga.experts(e[:, None, :].expand(-1, 3, -1)).detach()
    fresh = e.detach().requires_grad_()
    own = dapga.experts(fresh[:, None, :].expand(-1, 3, -1))[:, 0]
    stacked = torch.stack([own, constants[:, 1], constants[:, 2]], dim=1)
    scores = (dapga.key(stacked) @ dapga.query(own)[:, :, None]) * SPEC.expert_width**-0.5
    (scores.softmax(1) * dapga.value(stacked)).sum().backward()
    torch.testing.assert_close(fresh.grad, with_all)


def test_a_domain_without_rows_adds_nothing_to_the_loss() -> None:
    logits, labels = torch.randn(6, 2).double(), torch.zeros(6, 2).double()
    two = torch.tensor([0, 0, 0, 2, 2, 2])
    expected = sum(
        weight * torch.nn.functional.softplus(logits[two == d]).sum(1).mean() for d, weight in ((0, 1.0), (2, 0.5))
    )
    torch.testing.assert_close(domain_loss(logits, labels, two, WEIGHTS), expected)
    alone = domain_loss(logits, labels, torch.zeros(6, dtype=torch.int64), WEIGHTS)
    assert torch.isfinite(alone)
    torch.testing.assert_close(alone, torch.nn.functional.softplus(logits).sum(1).mean())


def test_the_loss_weighs_domains_not_their_row_counts() -> None:
    logits, labels = torch.tensor([[1.0, 1.0], [2.0, 2.0]]).double(), torch.zeros(2, 2).double()
    domains = torch.tensor([0, 1])
    repeated = torch.tensor([0, 1, 1, 1])
    torch.testing.assert_close(
        domain_loss(logits, labels, domains, WEIGHTS),
        domain_loss(logits[repeated], torch.zeros(4, 2).double(), domains[repeated], WEIGHTS),
    )
