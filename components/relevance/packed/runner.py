"""One expert on packs of pairs; on a GPU compiled, and replayed as one CUDA graph for each size of pack.

Shape suffixes: T tokens of a pack, R pairs, D width of a pooled vector.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from components.relevance.packed.packs import Pack, packs, views
from components.relevance.packed.tokens import Tokens
from components.relevance.packed.trunk import PackedExpert

# Of the median length of a product search's pair; what a warm-up is run on.
_USUAL_TOKENS = 40
# Weights times tokens that an H100 multiplies in the time that one block takes for next to no tokens, .04 ms of kernels
# that start and end (18 blocks of Gemma-3-270M: a pack takes .5 to .75 ms, and .0005 ms per token). A constant,
# so that packs, and with them the last bits of scores, do not vary from run to run.
_BLOCK_OVERHEAD = 8e9


class PackedRunner:
    """A packed expert, warmed up for packs of every size.

    Args:
        expert: a packed expert on its device.
        parts: number of parts of a pair that its pooling tells apart (Pack.parts_NS).
        sizes: tokens of a pack, ascending.
    """

    def __init__(self, expert: PackedExpert, parts: int, sizes: Sequence[int]) -> None:
        self.expert = expert
        self.sizes = tuple(sizes)
        self.device = next(expert.parameters()).device
        blocks = expert.trunk.blocks
        weights = sum(tensor.numel() for tensor in (*blocks.parameters(), *blocks.buffers()))
        self.overhead = int(_BLOCK_OVERHEAD * len(blocks) / weights)
        self._graphs: dict[int, _Graph] = {}
        if self.device.type == "cuda":
            # Libraries keep one workspace per stream, and a graph the one that it was captured with: experts whose
            # graphs are replayed side by side must not share it.
            stream = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
            expert.compile_blocks()
            separator = None if parts == 1 else -1
            for size in reversed(self.sizes):
                usual = [[0] * min(_USUAL_TOKENS, size)] * max(1, size // _USUAL_TOKENS)
                # One is replayed at a time, so that all can use the memory of the first, the largest.
                largest = self._graphs.get(self.sizes[-1])
                pool = largest.graph.pool() if largest else None
                self._graphs[size] = _Graph(expert, next(packs(Tokens.of(usual), (size,), separator)), pool, stream)

    def packs(self, tokens: Tokens, separator_id: int | None) -> list[Pack]:
        """Tokens in packs (packs.py), for a GPU in pinned memory; a causal expert reads a query's prefix once."""
        known = tokens if self.expert.causal else Tokens(tokens.ids_T, tokens.lengths_R)
        return list(packs(known, self.sizes, separator_id, self.device.type == "cuda", self.overhead))

    @torch.inference_mode()
    def run(self, pack: Pack) -> Tensor:
        """float32 (len(pack.rows), pooled width) on the expert's device; the next call may overwrite it. Does not wait
        for the device."""
        graph = self._graphs.get(len(pack.ids_T))
        pooled_RD = graph.replay(pack) if graph else self.expert(*(tensor.to(self.device) for tensor in pack.inputs))
        return pooled_RD[: len(pack.rows)]


class _Graph:
    """The kernels of one pack size, launched together: what launching them one by one costs is paid once."""

    def __init__(self, expert: PackedExpert, usual: Pack, pool: Any, stream: Any) -> None:
        self.buffer = usual.buffer.to(next(expert.parameters()).device)
        inputs = views(self.buffer, len(usual.ids_T), usual.parts_NS.shape[1])
        stream.wait_stream(torch.cuda.current_stream())
        with torch.inference_mode():
            with torch.cuda.stream(stream):
                for _ in range(3):  # compiles, and lets libraries choose and allocate
                    expert(*inputs)
            torch.cuda.current_stream().wait_stream(stream)
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph, pool=pool, stream=stream):
                self.pooled_RD: Tensor = expert(*inputs)

    def replay(self, pack: Pack) -> Tensor:
        self.buffer.copy_(pack.buffer, non_blocking=True)
        self.graph.replay()
        return self.pooled_RD
