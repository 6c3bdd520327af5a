"""Fusion heads: from the experts' vectors and the router's mask to a relevance.

`ConcatFusion` is paper 1's Information-Preserving Concatenation Fusion: every expert keeps its own slot, so that spaces
which are not aligned are never added. The others are its comparators, each with as many parameters as the
concatenation's head has, so that only the way of fusing differs.

Shape suffixes: B pairs, N experts, D_i width of expert i, P width of the common projected space, Z width of the head's
input.
"""

from __future__ import annotations

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

    def __init__(self, inputs: int, spec: FusionSpec, first: int | None = None) -> None:
        super().__init__()
        first, second = first or spec.hidden[0], spec.hidden[1]
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

    @classmethod
    def sized(cls, inputs: int, spec: FusionSpec, parameters: float) -> Head:
        """A head of about that many parameters, by the width of its first hidden layer."""
        second = spec.hidden[1]
        fixed = inputs + 1 + 2 * second + 1
        return cls(inputs, spec, max(1, round((parameters - fixed) / (inputs + 1 + second))))

    def forward(self, z_BZ: Tensor) -> Tensor:
        """Logits (B,)."""
        z_BZ = self.input_dropout(z_BZ)
        logits_B1: Tensor = self.linear(z_BZ) + self.mlp(z_BZ)
        return logits_B1.squeeze(-1)


def head_parameters(inputs: int, spec: FusionSpec) -> int:
    """Parameters of a `Head` on that many inputs."""
    first, second = spec.hidden
    return inputs + 1 + (inputs + 1) * first + (first + 1) * second + second + 1


def fused_parameters(combiner: Combiner) -> int:
    """Parameters that read the experts' normed vectors: what comparators have in equal number."""
    left_out = ("norms.", "nulls.")
    return sum(p.numel() for name, p in combiner.named_parameters() if not name.startswith(left_out))


class Combiner(nn.Module):
    """Base of the fusion heads: slot norms, a head, and the calibration of its logit beside the lexical one.

    A subclass says what the head reads (`combine`).

    Attributes:
        averages: whether it weighs the chosen experts by the router's softmax instead of reading a 0/1 mask.
    """

    averages = False
    calibration: Tensor

    def __init__(self, dims: tuple[int, ...], head: nn.Module) -> None:
        super().__init__()
        self.norms = nn.ModuleList(SlotNorm(dim) for dim in dims)
        self.head = head
        # Slopes of the head's and the lexical logit, and intercept: fitted on out-of-fold logits after training.
        self.register_buffer("calibration", torch.tensor([1.0, 0.0, 0.0]))

    def fit_norms(self, vectors: tuple[Tensor, ...]) -> None:
        """Take the slot statistics from training rows, one tensor (B, D_i) per slot."""
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
        """Relevance in 0..1, float32 (B,), from one float32 (B, D_i) per expert in slot order, the mask (B, N), and the
        lexical logits (B,).

        A slot whose mask is 0 is never read: whatever vector stands there (zeros, say) has no influence.
        """
        *vectors, mask_BN, lexical_B = inputs
        logits_B = self.logits(tuple(vectors), mask_BN)
        slope, lexical_slope, intercept = self.calibration
        return torch.sigmoid(slope * logits_B + lexical_slope * lexical_B + intercept)

    def _normed(self, vectors: tuple[Tensor, ...]) -> list[Tensor]:
        return [norm(vectors_BD) for norm, vectors_BD in zip(self.norms, vectors, strict=True)]


def _concat_width(spec: MixtureSpec) -> int:
    return sum(spec.dims) + len(spec.dims)


def _budget(spec: MixtureSpec) -> int:
    """Parameters of the concatenation's head."""
    return head_parameters(_concat_width(spec), spec.fusion)


class ConcatFusion(Combiner):
    """z = [s_1; ...; s_N; mask], s_i = m_i norm(h_i) + (1 - m_i) null_i, with one learned null vector per slot."""

    def __init__(self, spec: MixtureSpec) -> None:
        super().__init__(spec.dims, Head(_concat_width(spec), spec.fusion))
        self.nulls = nn.ParameterList(nn.Parameter(torch.zeros(dim)) for dim in spec.dims)

    def combine(self, vectors: tuple[Tensor, ...], mask_BN: Tensor) -> Tensor:
        """(B, sum D_i + N)."""
        slots = []
        for slot, (null_D, normed_BD) in enumerate(zip(self.nulls, self._normed(vectors), strict=True)):
            m_B1 = mask_BN[:, slot : slot + 1]
            slots.append(m_B1 * normed_BD + (1.0 - m_B1) * null_D)
        return torch.cat([*slots, mask_BN], dim=1)


def _weights(mask_BN: Tensor) -> Tensor:
    """Shares of the chosen experts (B, N): the mask's entries divided by their sum."""
    return mask_BN / mask_BN.sum(dim=1, keepdim=True)


class WeightedAverage(Combiner):
    """z = sum_i pi_i P_i norm(h_i): one learned projection per expert, then the average over the chosen experts."""

    averages = True

    def __init__(self, spec: MixtureSpec) -> None:
        reads = spec.fusion.hidden[0] + 1  # outputs that read z: the hidden layer and the linear part
        width = _common_width(sum(spec.dims), reads, spec)
        super().__init__(spec.dims, Head(width, spec.fusion))
        self.projections = nn.ModuleList(nn.Linear(dim, width, bias=False) for dim in spec.dims)

    def combine(self, vectors: tuple[Tensor, ...], mask_BN: Tensor) -> Tensor:
        """(B, P)."""
        projected = [projection(h_BD) for projection, h_BD in zip(self.projections, self._normed(vectors), strict=True)]
        return (_weights(mask_BN).unsqueeze(-1) * torch.stack(projected, dim=1)).sum(dim=1)


class GatedSum(Combiner):
    """z = sum_i m_i sigmoid(G_i norm(h_i)) * P_i norm(h_i): each expert gates its own projection, dimension-wise."""

    def __init__(self, spec: MixtureSpec) -> None:
        reads = spec.fusion.hidden[0] + 1
        width = _common_width(2 * sum(spec.dims), reads, spec)
        super().__init__(spec.dims, Head(width, spec.fusion))
        self.projections = nn.ModuleList(nn.Linear(dim, width, bias=False) for dim in spec.dims)
        self.gates = nn.ModuleList(nn.Linear(dim, width, bias=False) for dim in spec.dims)

    def combine(self, vectors: tuple[Tensor, ...], mask_BN: Tensor) -> Tensor:
        """(B, P)."""
        gated = [
            torch.sigmoid(gate(h_BD)) * projection(h_BD)
            for gate, projection, h_BD in zip(self.gates, self.projections, self._normed(vectors), strict=True)
        ]
        return (mask_BN.unsqueeze(-1) * torch.stack(gated, dim=1)).sum(dim=1)


class LogitAverage(Combiner):
    """sum_i pi_i head_i(norm(h_i)): one head per expert, their logits averaged over the chosen experts."""

    averages = True

    def __init__(self, spec: MixtureSpec) -> None:
        share = _budget(spec) / sum(spec.dims)
        super().__init__(spec.dims, nn.ModuleList(Head.sized(dim, spec.fusion, share * dim) for dim in spec.dims))

    def logits(self, vectors: tuple[Tensor, ...], mask_BN: Tensor) -> Tensor:
        """Uncalibrated logits (B,)."""
        assert isinstance(self.head, nn.ModuleList)
        each = [head(h_BD) for head, h_BD in zip(self.head, self._normed(vectors), strict=True)]
        return (_weights(mask_BN) * torch.stack(each, dim=1)).sum(dim=1)


class SingleExpert(Combiner):
    """The head on one expert's vector; the mask is ignored.

    Args:
        spec: the mixture whose head's size it matches.
        slot: the expert's index among the vectors it is given.
        dim: width of an expert that is not in the mixture (a dense baseline); None takes the slot's.
    """

    def __init__(self, spec: MixtureSpec, slot: int, dim: int | None = None) -> None:
        dim = dim or spec.dims[slot]
        super().__init__((dim,), Head.sized(dim, spec.fusion, _budget(spec)))
        self.slot = slot

    def fit_norms(self, vectors: tuple[Tensor, ...]) -> None:
        """Take the statistics of this expert's slot."""
        super().fit_norms((vectors[self.slot],))

    def combine(self, vectors: tuple[Tensor, ...], mask_BN: Tensor) -> Tensor:  # noqa: ARG002 - the heads share a signature
        """(B, D_slot)."""
        normed_BD: Tensor = self.norms[0](vectors[self.slot])
        return normed_BD


def _common_width(maps: int, reads: int, spec: MixtureSpec) -> int:
    """Width P at which `maps` rows of projections and a head on P inputs match the concatenation's head."""
    return max(1, round(_concat_width(spec) * reads / (maps + reads)))


_KINDS: dict[str, type[ConcatFusion] | type[WeightedAverage] | type[GatedSum] | type[LogitAverage]] = {
    "concat": ConcatFusion,
    "weighted_average": WeightedAverage,
    "gated_sum": GatedSum,
    "logit_average": LogitAverage,
}


def new_fusion(kind: str, spec: MixtureSpec) -> Combiner:
    """A fresh fusion head of that kind."""
    return _KINDS[kind](spec)
