"""The GPU kernel of `norm.sum_norm`, in Triton: one row per program, held in registers between its two norms.

Needs Triton, which PyTorch's CUDA builds bring.

Shape suffixes: T tokens of a pack, D the trunk's width.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

# Columns of a row per warp. With more warps they wait for each other; with fewer, registers run out.
_WARP_COLUMNS = 2048


@triton.jit
def _sum_norm(x, added, before, after, total, normed, eps, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    column = tl.arange(0, BLOCK)
    inside = column < WIDTH
    at = tl.program_id(0).to(tl.int64) * WIDTH + column
    own = tl.load(added + at, mask=inside, other=0.0).to(tl.float32)
    own *= tl.rsqrt(tl.sum(own * own, 0) / WIDTH + eps) * tl.load(before + column, mask=inside, other=0.0)
    stored = (tl.load(x + at, mask=inside, other=0.0).to(tl.float32) + own).to(total.dtype.element_ty)
    tl.store(total + at, stored, mask=inside)
    whole = stored.to(tl.float32)
    whole *= tl.rsqrt(tl.sum(whole * whole, 0) / WIDTH + eps) * tl.load(after + column, mask=inside, other=0.0)
    tl.store(normed + at, whole.to(normed.dtype.element_ty), mask=inside)


def sum_norm_rows(
    x_TD: Tensor, added_TD: Tensor, before_D: Tensor, after_D: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """What `norm.sum_norm` says."""
    assert x_TD.is_contiguous() and added_TD.is_contiguous() and added_TD.shape == x_TD.shape
    rows, width = x_TD.shape
    sum_TD, normed_TD = torch.empty_like(x_TD), torch.empty_like(x_TD)
    block = triton.next_power_of_2(width)
    _sum_norm[(rows,)](
        x_TD, added_TD, before_D, after_D, sum_TD, normed_TD, eps,
        WIDTH=width, BLOCK=block, num_warps=max(1, block // _WARP_COLUMNS),
    )  # fmt: skip
    return sum_TD, normed_TD
