"""Fusion heads: from the experts' vectors and the router's mask to a relevance.

`ConcatFusion` is paper 1's Information-Preserving Concatenation Fusion: every expert keeps its own slot, so that spaces
which are not aligned are never added. `WeightedAverage` and `SingleExpert` are its comparators.

Shapes: B pairs, N experts, D_i width of expert i, P width of the common projected space, Z width of the head's input.
"""

import torch
from torch import Tensor, nn

from components.relevance.model.spec import FusionSpec, MixtureSpec


class SlotNorm(nn.Module):
    """Standardise each dimension by fixed statistics, then LayerNorm (our choice).

    Frozen language models have a few dimensions of huge and nearly constant value: without the first step they would
    drown the others in the LayerNorm. The statistics are those of the training rows (`fit`).
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(dim))
        self.norm = nn.LayerNorm(dim)

    def fit(self, vectors_BD: Tensor) -> None:
        """Take the statistics of these vectors."""
        self.mean.copy_(vectors_BD.mean(dim=0))
        self.scale.copy_(vectors_BD.std(dim=0).clamp(min=1e-4))

    def forward(self, vectors_BD: Tensor) -> Tensor:
        """(B, D)."""
        normed_BD: Tensor = self.norm((vectors_BD - self.mean) / self.scale)
        return normed_BD


class Head(nn.Module):
    """Dropout, then a linear part beside Linear, GELU, dropout, Linear, GELU, Linear; their sum is the logit.

    The linear part (our choice) starts at zero: on frozen experts most of what can be learned is linear, and without
    it a small set of judgments is overfitted before it is found.
    """

    def __init__(self, inputs: int, spec: FusionSpec) -> None:
        super().__init__()
        first, second = spec.hidden
        self.input_dropout = nn.Dropout(spec.input_dropout)
        self.linear = nn.Linear(inputs, 1)
        nn.init.zeros_(self.linear.weight)
        self.mlp = nn.Sequential(
            nn.Linear(inputs, first),
            nn.GELU(),
            nn.Dropout(spec.dropout),
            nn.Linear(first, second),
            nn.GELU(),
            nn.Linear(second, 1),
        )

    def forward(self, z_BZ: Tensor) -> Tensor:
        """Logits (B,)."""
        z_BZ = self.input_dropout(z_BZ)
        logits_B1: Tensor = self.linear(z_BZ) + self.mlp(z_BZ)
        return logits_B1.squeeze(-1)


class Combiner(nn.Module):
    """Base of the fusion heads: slot norms, a head, and Platt's calibration of its logit.

    A subclass says what the head reads (`combine`).
    """

    calibration: Tensor

    def __init__(self, dims: tuple[int, ...], inputs: int, spec: MixtureSpec) -> None:
        super().__init__()
        self.norms = nn.ModuleList(SlotNorm(dim) for dim in dims)
        self.head = Head(inputs, spec.fusion)
        # Slope and intercept, fitted on out-of-fold logits after training.
        self.register_buffer("calibration", torch.tensor([1.0, 0.0]))

    def fit_norms(self, vectors: tuple[Tensor, ...]) -> None:
        """Take the slot statistics from training rows, one tensor (B, D_i) a slot."""
        for norm, vectors_BD in zip(self.norms, vectors, strict=True):
            assert isinstance(norm, SlotNorm)
            norm.fit(vectors_BD)

    def combine(self, vectors: tuple[Tensor, ...], mask_BN: Tensor) -> Tensor:
        """The head's input (B, Z)."""
        raise NotImplementedError

    def logits(self, vectors: tuple[Tensor, ...], mask_BN: Tensor) -> Tensor:
        """Uncalibrated logits (B,)."""
        logits_B: Tensor = self.head(self.combine(vectors, mask_BN))
        return logits_B

    def forward(self, *inputs: Tensor) -> Tensor:
        """Relevance in 0..1, float32 (B,), from one float32 (B, D_i) an expert in slot order and the mask (B, N).

        A slot whose mask is 0 is never read: whatever vector stands there (zeros, say) has no influence.
        """
        *vectors, mask_BN = inputs
        logits_B = self.logits(tuple(vectors), mask_BN)
        return torch.sigmoid(self.calibration[0] * logits_B + self.calibration[1])


class ConcatFusion(Combiner):
    """z = [s_1; ...; s_N; mask], s_i = m_i norm(h_i) + (1 - m_i) null_i, with a learned null vector a slot."""

    def __init__(self, spec: MixtureSpec) -> None:
        super().__init__(spec.dims, sum(spec.dims) + len(spec.dims), spec)
        self.nulls = nn.ParameterList(nn.Parameter(torch.zeros(dim)) for dim in spec.dims)

    def combine(self, vectors: tuple[Tensor, ...], mask_BN: Tensor) -> Tensor:
        """(B, sum D_i + N)."""
        slots = []
        for place, (norm, null_D, vectors_BD) in enumerate(zip(self.norms, self.nulls, vectors, strict=True)):
            m_B1 = mask_BN[:, place : place + 1]
            slots.append(m_B1 * norm(vectors_BD) + (1.0 - m_B1) * null_D)
        return torch.cat([*slots, mask_BN], dim=1)


class WeightedAverage(Combiner):
    """z = sum_i pi_i P_i norm(h_i): a learned projection an expert, then the average over the chosen experts.

    The weights pi are the mask's entries, divided by their sum. The common width P makes the projections and the head
    together as large as the concatenation's head, so that only the way of fusing differs.
    """

    def __init__(self, spec: MixtureSpec) -> None:
        first = spec.fusion.hidden[0] + 1  # outputs that read the head's input: the hidden layer and the linear part
        width = max(1, round(sum(spec.dims) * first / (sum(spec.dims) + first)))
        super().__init__(spec.dims, width, spec)
        self.projections = nn.ModuleList(nn.Linear(dim, width, bias=False) for dim in spec.dims)

    def combine(self, vectors: tuple[Tensor, ...], mask_BN: Tensor) -> Tensor:
        """(B, P)."""
        weight_BN = mask_BN / mask_BN.sum(dim=1, keepdim=True)
        projected = [
            weight_BN[:, place : place + 1] * projection(norm(vectors_BD))
            for place, (norm, projection, vectors_BD) in enumerate(
                zip(self.norms, self.projections, vectors, strict=True)
            )
        ]
        return torch.stack(projected).sum(dim=0)


class SingleExpert(Combiner):
    """The head on one expert's vector; the mask is ignored."""

    def __init__(self, spec: MixtureSpec, slot: int) -> None:
        super().__init__((spec.dims[slot],), spec.dims[slot], spec)
        self.slot = slot

    def fit_norms(self, vectors: tuple[Tensor, ...]) -> None:
        """Take the statistics of this expert's slot."""
        super().fit_norms((vectors[self.slot],))

    def combine(self, vectors: tuple[Tensor, ...], mask_BN: Tensor) -> Tensor:  # noqa: ARG002 - the heads share a signature
        """(B, D_slot)."""
        normed_BD: Tensor = self.norms[0](vectors[self.slot])
        return normed_BD
