"""Every expert's vectors of a batch of pairs, in their slots, and the fusion of them.

On a GPU the fusion is one CUDA graph for each of a few numbers of pairs: its kernels are so small that launching them
one by one would take longer than running them.

Shape suffixes: U pairs that the slots hold, N experts, D width of an expert's vector.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

# Numbers of pairs that have slots of their own; more than the last get new ones each time, without a graph.
_PAIRS = (64, 256, 1_024, 4_096)


class Slots:
    """Room for U pairs.

    Args:
        fusion: from one vector (U, D) per expert, the mask (U, N) and lexical logits (U,) to relevance (U,).
        dims: the experts' widths.
        pairs: number of pairs.
        device: where they lie.

    Attributes:
        vectors: float32 (U, D) of each expert; those of a pair that did not choose it are never read.
        mask_UN: float32, which experts each pair chose.
        lexical_U: float32, their lexical logits.
    """

    def __init__(self, fusion: nn.Module, dims: Sequence[int], pairs: int, device: torch.device) -> None:
        self._fusion = fusion
        self.vectors = [torch.zeros(pairs, dim, device=device) for dim in dims]
        self.mask_UN = torch.zeros(pairs, len(dims), device=device)
        self.lexical_U = torch.zeros(pairs, device=device)

    def fuse(self) -> Tensor:
        """Relevance float32 (U,); those of pairs that were not written mean nothing."""
        relevance_U: Tensor = self._fusion(*self.vectors, self.mask_UN, self.lexical_U)
        return relevance_U


class ReplayedSlots(Slots):
    """The same with the fusion as a graph: the next call overwrites this one's answer, in the stream's order."""

    def __init__(self, fusion: nn.Module, dims: Sequence[int], pairs: int, device: torch.device) -> None:
        super().__init__(fusion, dims, pairs, device)
        stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            for _ in range(3):  # lets libraries choose and allocate
                super().fuse()
        torch.cuda.current_stream(device).wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, stream=stream):
            self._relevance_U = super().fuse()

    def fuse(self) -> Tensor:
        """As `Slots.fuse`."""
        self._graph.replay()
        return self._relevance_U


class SlotSizes:
    """Slots for any number of pairs.

    Args:
        fusion, dims, device: as for `Slots`.
    """

    @torch.inference_mode()
    def __init__(self, fusion: nn.Module, dims: Sequence[int], device: torch.device) -> None:
        self._new = fusion, dims, device
        sizes = _PAIRS if device.type == "cuda" else ()
        self._kept = [(pairs, ReplayedSlots(fusion, dims, pairs, device)) for pairs in sizes]

    def of(self, pairs: int) -> Slots:
        """Slots for so many pairs at least; what stood in them does not matter."""
        fusion, dims, device = self._new
        kept = next((slots for most, slots in self._kept if pairs <= most), None)
        return kept or Slots(fusion, dims, pairs, device)
