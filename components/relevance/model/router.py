"""End-to-end hard routing: a query and its market choose k of N experts.

Paper 1 (section on routing, by its abstract) finds end-to-end hard routing best; the encoder, the Gumbel
straight-through estimator and the load-balance loss are our choices. The item is no input: a whole query goes to one
set of experts, so that all its items share it.

Shapes: B queries, G trigrams, N experts, K experts chosen, W width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from components.contracts.text import PAD_BUCKET
from components.relevance.model.spec import MixtureSpec


class Router(nn.Module):
    """Hashed character trigrams and the market to N logits; the K largest are chosen."""

    def __init__(self, spec: MixtureSpec) -> None:
        super().__init__()
        width = spec.router.width
        self.top_k = spec.top_k
        self.experts = len(spec.experts)
        self.ngram = nn.Embedding(spec.router.ngram_buckets, width, padding_idx=PAD_BUCKET)
        self.market = nn.Embedding(len(spec.markets), width)
        self.mlp = nn.Sequential(nn.Linear(2 * width, 2 * width), nn.GELU(), nn.Linear(2 * width, self.experts))

    def logits(self, ngrams_BG: Tensor, market_B: Tensor) -> Tensor:
        """(B, N) from int64 trigram buckets (0 is padding) and market codes."""
        present_BG1 = (ngrams_BG != PAD_BUCKET).to(torch.float32).unsqueeze(-1)
        grams_BW = (self.ngram(ngrams_BG) * present_BG1).sum(dim=1) / present_BG1.sum(dim=1).clamp(min=1.0)
        logits_BN: Tensor = self.mlp(torch.cat([grams_BW, self.market(market_B)], dim=1))
        return logits_BN

    def forward(self, ngrams: Tensor, market: Tensor) -> tuple[Tensor, Tensor]:
        """Deterministic choice: expert indices int64 (B, K), best first, and the mask float32 (B, N)."""
        experts_BK = torch.topk(self.logits(ngrams, market), self.top_k, dim=1).indices
        return experts_BK, choice_mask(experts_BK, self.experts)

    def sample(self, logits_BN: Tensor, temperature: float) -> Tensor:
        """Random hard choice for training: 0/1 mask (B, N) with the gradient of a Gumbel softmax (straight-through)."""
        gumbel_BN = -torch.log(-torch.log(torch.rand_like(logits_BN).clamp(1e-9, 1 - 1e-7)))
        soft_BN = functional.softmax((logits_BN + gumbel_BN) / temperature, dim=1)
        hard_BN = choice_mask(torch.topk(soft_BN, self.top_k, dim=1).indices, self.experts)
        return hard_BN + soft_BN - soft_BN.detach()


def choice_mask(experts_BK: Tensor, experts: int) -> Tensor:
    """0/1 float32 (B, N) of chosen expert indices."""
    every_N = torch.arange(experts, device=experts_BK.device)
    return (experts_BK.unsqueeze(-1) == every_N).any(dim=1).to(torch.float32)


def load_balance_loss(logits_BN: Tensor, mask_BN: Tensor) -> Tensor:
    """N * sum_i f_i P_i: f the share of choices that fell on expert i, P its mean probability; 1 where even."""
    share_N = mask_BN.detach().mean(dim=0) / mask_BN.detach().sum(dim=1).mean()
    probability_N = functional.softmax(logits_BN, dim=1).mean(dim=0)
    return logits_BN.shape[1] * (share_N * probability_N).sum()
