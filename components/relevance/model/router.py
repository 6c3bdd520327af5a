"""Routers: a query and its market choose k of N experts.

Paper 1 compares rule-based, pseudo-label and end-to-end routing and finds end-to-end hard routing best; the encoder,
the Gumbel straight-through estimator and the load-balance loss are our choices, and so is soft routing, which runs
every expert: the upper-cost comparator. The item is not read: a whole query goes to one set of experts, so that all
its items share it.

Shape suffixes: B queries, G trigrams, M markets, N experts, K experts chosen, W width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from components.contracts.text import PAD_BUCKET
from components.relevance.model.spec import MixtureSpec


class Router(nn.Module):
    """Base of the routers: the K experts of the largest logits are chosen. A subclass says what the logits are.

    Attributes:
        learns: whether the router is trained together with the fusion head.
    """

    learns = False

    def __init__(self, spec: MixtureSpec) -> None:
        super().__init__()
        self.top_k = spec.top_k
        self.num_experts = len(spec.experts)

    def logits(self, ngrams_BG: Tensor, market_B: Tensor) -> Tensor:
        """Preferences (B, N) from int64 trigram buckets (0 is padding) and market codes."""
        raise NotImplementedError

    def forward(self, ngrams: Tensor, market: Tensor) -> tuple[Tensor, Tensor]:
        """Deterministic choice: expert indices int64 (B, K), best first, and the mask float32 (B, N)."""
        chosen_BK = torch.topk(self.logits(ngrams, market), self.top_k, dim=1).indices
        return chosen_BK, choice_mask(chosen_BK, self.num_experts)

    def train_mask(self, logits_BN: Tensor, temperature: float) -> Tensor:  # noqa: ARG002 - one signature
        """The mask (B, N) that a fusion head is trained with; here the deterministic choice."""
        return choice_mask(torch.topk(logits_BN, self.top_k, dim=1).indices, self.num_experts)


class RuleRouter(Router):
    """Each market has its own fixed order of experts (a table, filled from validation AUC)."""

    preference: Tensor

    def __init__(self, spec: MixtureSpec) -> None:
        super().__init__(spec)
        self.register_buffer("preference", torch.zeros(len(spec.markets), self.num_experts))

    def logits(self, ngrams_BG: Tensor, market_B: Tensor) -> Tensor:  # noqa: ARG002 - one signature
        """(B, N)."""
        return self.preference[market_B]


class QueryRouter(Router):
    """Hashed character trigrams and the market to N logits. Trained on pseudo-labels, then frozen."""

    def __init__(self, spec: MixtureSpec) -> None:
        super().__init__(spec)
        width = spec.router.width
        self.ngram = nn.Embedding(spec.router.ngram_buckets, width, padding_idx=PAD_BUCKET)
        self.market = nn.Embedding(len(spec.markets), width)
        self.mlp = nn.Sequential(nn.Linear(2 * width, 2 * width), nn.GELU(), nn.Linear(2 * width, self.num_experts))

    def logits(self, ngrams_BG: Tensor, market_B: Tensor) -> Tensor:
        """(B, N)."""
        present_BG1 = (ngrams_BG != PAD_BUCKET).to(torch.float32).unsqueeze(-1)
        grams_BW = (self.ngram(ngrams_BG) * present_BG1).sum(dim=1) / present_BG1.sum(dim=1).clamp(min=1.0)
        logits_BN: Tensor = self.mlp(torch.cat([grams_BW, self.market(market_B)], dim=1))
        return logits_BN


class EndToEndRouter(QueryRouter):
    """Trained together with the fusion head, by random hard choices whose gradient is soft."""

    learns = True

    def train_mask(self, logits_BN: Tensor, temperature: float) -> Tensor:
        """Random hard choice: 0/1 mask (B, N) with the gradient of a Gumbel softmax (straight-through)."""
        gumbel_BN = -torch.log(-torch.log(torch.rand_like(logits_BN).clamp(1e-9, 1 - 1e-7)))
        soft_BN = functional.softmax((logits_BN + gumbel_BN) / temperature, dim=1)
        hard_BN = choice_mask(torch.topk(soft_BN, self.top_k, dim=1).indices, self.num_experts)
        return hard_BN + soft_BN - soft_BN.detach()


class SoftRouter(QueryRouter):
    """Every expert answers; N times its softmax weight stands in the mask, so that no preference is a mask of ones."""

    learns = True

    def forward(self, ngrams: Tensor, market: Tensor) -> tuple[Tensor, Tensor]:
        """All expert indices int64 (B, N), best first, and their weights float32 (B, N)."""
        logits_BN = self.logits(ngrams, market)
        return torch.topk(logits_BN, self.num_experts, dim=1).indices, self.train_mask(logits_BN, 1.0)

    def train_mask(self, logits_BN: Tensor, temperature: float) -> Tensor:  # noqa: ARG002 - one signature
        """Weights (B, N), N times the softmax."""
        return self.num_experts * functional.softmax(logits_BN, dim=1)


_KINDS: dict[str, type[Router]] = {
    "rule": RuleRouter,
    "pseudo_label": QueryRouter,
    "end_to_end": EndToEndRouter,
    "soft": SoftRouter,
}


def new_router(spec: MixtureSpec) -> Router:
    """A fresh router of the kind that the spec names."""
    return _KINDS[spec.router.kind](spec)


def choice_mask(chosen_BK: Tensor, num_experts: int) -> Tensor:
    """0/1 float32 (B, N) of chosen expert indices."""
    every_N = torch.arange(num_experts, device=chosen_BK.device)
    return (chosen_BK.unsqueeze(-1) == every_N).any(dim=1).to(torch.float32)


def load_balance_loss(logits_BN: Tensor, mask_BN: Tensor) -> Tensor:
    """N * sum_i f_i P_i: f the share of choices that fell on expert i, P its mean probability; 1 where even."""
    share_N = mask_BN.detach().mean(dim=0) / mask_BN.detach().sum(dim=1).mean()
    probability_N = functional.softmax(logits_BN, dim=1).mean(dim=0)
    return logits_BN.shape[1] * (share_N * probability_N).sum()
