"""Fitting one network: the router's temperature over the epochs, the experts' load, and what null vectors learn."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from components.relevance.config import MIXTURE
from components.relevance.fitting.fit import fit
from components.relevance.fitting.networks import build_routed
from components.relevance.judgments.judged import Judged, distinct_ngrams
from components.relevance.model.fusion import ConcatFusion
from components.relevance.model.routed import Routed
from components.relevance.model.router import EndToEndRouter
from components.relevance.model.spec import FusionSpec, MixtureSpec, RouterSpec
from tests.relevance.relevance_world import MARKETS, judgments, tiny_config

SPEC = MixtureSpec(
    markets=MARKETS,
    experts=("noise", "telling", "more-noise"),
    dims=(6, 8, 4),
    top_k=1,
    router=RouterSpec(ngram_buckets=256, max_ngrams=48, width=8),
    fusion=FusionSpec(hidden=(16, 8), input_dropout=0.1, dropout=0.1),
)
TELLING = 1
TRAIN, VALID = np.arange(256), np.arange(256, 320)
BATCHES = 4  # an epoch, of 64 rows each


@dataclass
class Drawn:
    """What every step of a fit asked of the router, and the masks it got."""

    temperatures: list[float] = field(default_factory=list)
    masks: list[Tensor] = field(default_factory=list)

    def last_shares(self) -> Tensor:
        """Shares of the last epoch's choices that fell on each expert (N,)."""
        mask_N = torch.cat(self.masks[-BATCHES:]).mean(dim=0)
        return mask_N / mask_N.sum()


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Drawn:
    seen, draw = Drawn(), EndToEndRouter.train_mask

    def watched(self: EndToEndRouter, logits_BN: Tensor, temperature: float) -> Tensor:
        mask_BN = draw(self, logits_BN, temperature)
        seen.temperatures.append(temperature)
        seen.masks.append(mask_BN.detach())
        return mask_BN

    monkeypatch.setattr(EndToEndRouter, "train_mask", watched)
    return seen


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Steps are so small that threads would mostly wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def judged() -> Judged:
    """One expert's vectors tell the label; the others' are noise."""
    frame = judgments(len(TRAIN) + len(VALID))
    random = torch.Generator().manual_seed(0)
    label = torch.from_numpy(frame["grade"].to_numpy().astype(np.float32))
    vectors = [torch.randn(len(frame), dim, generator=random) for dim in SPEC.dims]
    # Signs differ: the slots' LayerNorm takes away what all dimensions share.
    sign = torch.tensor([1.0, -1.0]).repeat(SPEC.dims[TELLING] // 2)
    vectors[TELLING] = vectors[TELLING] * 0.1 + sign * (label[:, None] - 0.5)
    return Judged(
        frame=frame,
        markets=MARKETS,
        label=label,
        market=torch.arange(len(frame)) % len(MARKETS),
        ngrams=distinct_ngrams(frame["query"], SPEC.router.ngram_buckets, SPEC.router.max_ngrams),
        vectors=tuple(vectors),
    )


def fitted(judged: Judged, spec: MixtureSpec = SPEC, **changes: Any) -> Routed:
    settings = {"epochs": 12, "patience": 12, "learning_rate": 0.01, "router_learning_rate": 0.02}
    config = tiny_config(**settings | changes)
    network = build_routed(MIXTURE, spec, seed=0)
    fit(network, judged, TRAIN, VALID, config, seed=0)
    return network


@pytest.mark.parametrize(
    ("changes", "start", "end", "epochs"),
    [
        ({"epochs": 5}, 1.0, 0.3, 5),
        ({"epochs": 3, "temperature_start": 2.0, "temperature_end": 0.5}, 2.0, 0.5, 3),
        ({"epochs": 5, "max_steps": 2 * BATCHES}, 1.0, 0.3, 2),
    ],
)
def test_the_temperature_falls_over_the_epochs_from_its_start_to_its_end(
    drawn: Drawn, judged: Judged, changes: dict[str, Any], start: float, end: float, epochs: int
) -> None:
    fitted(judged, **changes)
    expected = np.geomspace(start, end, epochs)
    assert (np.diff(expected) < 0).all()
    np.testing.assert_allclose(drawn.temperatures, np.repeat(expected, BATCHES))


def test_a_large_load_balance_weight_spreads_queries_over_unequal_experts(drawn: Drawn, judged: Judged) -> None:
    fitted(judged, load_balance=0.0)
    free_N = drawn.last_shares()
    fitted(judged, load_balance=1.0)
    even_N = drawn.last_shares()
    assert free_N.argmax() == TELLING and free_N.max() > 0.9, "nothing keeps the router from the one good expert"
    assert even_N.max() < 0.6 and even_N.min() > 0.15
    free, even = (float(torch.special.entr(share_N).sum()) for share_N in (free_N, even_N))
    assert even > free + 0.5


def test_null_vectors_are_learned_and_read_where_an_expert_was_not_chosen(judged: Judged) -> None:
    fusion = fitted(judged, replace(SPEC, top_k=2)).fusion
    assert isinstance(fusion, ConcatFusion)
    mask_nN = torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0], [1.0, 0.0, 1.0]]).repeat(20, 1)
    vectors = tuple(vectors_nD[: len(mask_nN)] for vectors_nD in judged.vectors)
    with torch.inference_mode():
        logits_n = fusion.logits(vectors, mask_nN)
        for slot, null_D in enumerate(fusion.nulls):
            learned_D = null_D.clone()
            assert learned_D.abs().max() > 0.01, "null vectors begin at zero"
            null_D.zero_()
            moved_n = fusion.logits(vectors, mask_nN) != logits_n
            null_D.copy_(learned_D)
            assert torch.equal(moved_n, mask_nN[:, slot] == 0)
