"""RMS norm, and the residual sum before it: the operations between a language model's matrix products.

Shape suffixes: T tokens of a pack, D the trunk's width.
"""

import torch
from torch import Tensor, nn


class RmsNorm(nn.Module):
    """x over its root mean square, times a gain; computed in float32."""

    def __init__(self, gain_D: Tensor, eps: float) -> None:
        super().__init__()
        self.gain_D = nn.Parameter(gain_D.float())
        self.eps = eps

    def forward(self, x_TD: Tensor) -> Tensor:
        """(T, D)."""
        x = x_TD.float()
        return (x * torch.rsqrt(x.pow(2).mean(dim=1, keepdim=True) + self.eps) * self.gain_D).to(x_TD.dtype)


class SumNorm(nn.Module):
    """The residual stream with a sublayer's output added to it, and the norm of that sum.

    Args:
        before: norm of what is added, which Gemma has; None: it is added as it is.
        after: norm of the sum.
        one_kernel: two norms of a row are one kernel of ours on a GPU. The compiler's own reads a row of more than
            1,024 once per norm, which takes about twice as long; a single norm it computes as fast.
    """

    def __init__(self, before: RmsNorm | None, after: RmsNorm, one_kernel: bool) -> None:
        super().__init__()
        assert before is None or before.eps == after.eps
        self.before, self.after = before, after
        self.one_kernel = one_kernel and before is not None

    def forward(self, x_TD: Tensor, added_TD: Tensor) -> tuple[Tensor, Tensor]:
        """The sum and its norm, (T, D) twice."""
        if self.one_kernel:
            assert self.before is not None
            gains = (self.before.gain_D, self.after.gain_D)
            sums: tuple[Tensor, Tensor] = torch.ops.archipelago.sum_norm(x_TD, added_TD, *gains, self.after.eps)
            return sums
        # In float32, so that the sum joins a norm's kernel: as an accumulating product it would cost a copy of x.
        added = added_TD.float() if self.before is None else self.before(added_TD.float())
        sum_TD = (x_TD.float() + added).to(x_TD.dtype)
        return sum_TD, self.after(sum_TD)


@torch.library.custom_op("archipelago::sum_norm", mutates_args=())
def sum_norm(x_TD: Tensor, added_TD: Tensor, before_D: Tensor, after_D: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """x + norm(added) and the norm of that, (T, D) twice in the type of `x_TD`; gains are float32."""
    if x_TD.is_cuda:
        from components.relevance.packed.norm_kernel import sum_norm_rows

        return sum_norm_rows(x_TD, added_TD, before_D, after_D, eps)
    two = SumNorm(RmsNorm(before_D, eps), RmsNorm(after_D, eps), one_kernel=False)
    sums: tuple[Tensor, Tensor] = two(x_TD, added_TD)
    return sums


@sum_norm.register_fake
def _(x_TD: Tensor, *_: object) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x_TD), torch.empty_like(x_TD)
