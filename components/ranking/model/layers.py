"""Building blocks: grouped linear maps, two-layer networks and self-attention.

Shape suffixes: B batch, G groups (tokens, QKV blocks or domains), I input width, O output width, H heads, W head width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


class GroupedLinear(nn.Module):
    """One affine map per group: (B, G, I) -> (B, G, O), as a single batched product."""

    def __init__(self, groups: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = inputs**-0.5
        self.weight_GIO = nn.Parameter(torch.empty(groups, inputs, outputs).uniform_(-bound, bound))
        self.bias_G1O = nn.Parameter(torch.zeros(groups, 1, outputs))

    def forward(self, x_BGI: Tensor) -> Tensor:
        """Each group through its own map."""
        return torch.baddbmm(self.bias_G1O, x_BGI.transpose(0, 1), self.weight_GIO).transpose(0, 1)


class GroupedFeedForward(nn.Module):
    """One two-layer network per group: (B, G, I) -> (B, G, O)."""

    def __init__(self, groups: int, inputs: int, hidden: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.rise = GroupedLinear(groups, inputs, hidden)
        self.fall = GroupedLinear(groups, hidden, outputs)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BGI: Tensor) -> Tensor:
        """GELU between the two maps."""
        hidden: Tensor = self.dropout(functional.gelu(self.rise(x_BGI)))
        return self.fall(hidden)  # type: ignore[no-any-return]


def feed_forward(inputs: int, hidden: int, outputs: int, dropout: float) -> nn.Sequential:
    """Two-layer network: Linear - GELU - Dropout - Linear."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, outputs))


def self_attention(query_BGO: Tensor, key_BGO: Tensor, value_BGO: Tensor, heads: int) -> Tensor:
    """Scaled dot-product attention across groups; each head reads O / heads of the width. Returns (B, G, O)."""
    query_BHGW, key_BHGW, value_BHGW = (
        x.reshape(*x.shape[:2], heads, -1).transpose(1, 2) for x in (query_BGO, key_BGO, value_BGO)
    )
    mixed_BHGW = functional.scaled_dot_product_attention(query_BHGW, key_BHGW, value_BHGW)
    return mixed_BHGW.transpose(1, 2).flatten(2)


def choose(x_BGO: Tensor, group_B: Tensor) -> Tensor:
    """Each row's own group: (B, O). The groups not chosen get a gradient of exactly zero."""
    index_B1O = group_B[:, None, None].expand(-1, 1, x_BGO.shape[-1])
    return x_BGO.gather(1, index_B1O).squeeze(1)
