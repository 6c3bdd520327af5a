"""A router and a fusion head trained together, and a head alone behind the same signature.

Shape suffixes: B rows, G trigrams, N experts, D_i width of expert i, Z width of the head's input.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from components.relevance.model.fusion import Combiner
from components.relevance.model.router import Router, load_balance_loss


class Routed(nn.Module):
    """Router and head as one trainable module: in training as the router's kind wants it, in evaluation as served.

    A head that averages weighs the chosen experts by the router's softmax; a concatenation reads the mask.
    """

    def __init__(self, router: Router, fusion: Combiner) -> None:
        super().__init__()
        self.router = router.requires_grad_(router.learns)
        self.fusion = fusion

    def forward(
        self, ngrams_BG: Tensor, market_B: Tensor, vectors: tuple[Tensor, ...], temperature: float
    ) -> tuple[Tensor, Tensor]:
        """Uncalibrated logits (B,) and the load-balance loss, a scalar (1 where experts share the load evenly)."""
        choice_BN = self.router.logits(ngrams_BG, market_B)
        if self.training:
            mask_BN = self.router.train_mask(choice_BN, temperature)
        else:
            _, mask_BN = self.router(ngrams_BG, market_B)
        balance = (
            load_balance_loss(choice_BN, mask_BN) if self.router.learns else torch.zeros((), device=ngrams_BG.device)
        )
        return self.fusion.logits(vectors, self._weights(choice_BN, mask_BN)), balance

    def read(self, ngrams_BG: Tensor, market_B: Tensor, vectors: tuple[Tensor, ...]) -> Tensor:
        """What the head reads of rows routed as served (B, Z)."""
        choice_BN = self.router.logits(ngrams_BG, market_B)
        _, mask_BN = self.router(ngrams_BG, market_B)
        return self.fusion.combine(vectors, self._weights(choice_BN, mask_BN))

    def _weights(self, choice_BN: Tensor, mask_BN: Tensor) -> Tensor:
        return mask_BN * functional.softmax(choice_BN, dim=1) if self.fusion.averages else mask_BN


class Alone(nn.Module):
    """A head that needs no router, behind the signature of `Routed`."""

    def __init__(self, fusion: Combiner) -> None:
        super().__init__()
        self.fusion = fusion

    def forward(
        self,
        ngrams_BG: Tensor,
        market_B: Tensor,  # noqa: ARG002 - the signature of Routed
        vectors: tuple[Tensor, ...],
        temperature: float,  # noqa: ARG002
    ) -> tuple[Tensor, Tensor]:
        """Uncalibrated logits (B,) and no further loss."""
        every_BN = torch.ones(ngrams_BG.shape[0], len(vectors), device=ngrams_BG.device)
        return self.fusion.logits(vectors, every_BN), torch.zeros((), device=ngrams_BG.device)
