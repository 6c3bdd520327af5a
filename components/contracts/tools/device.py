"""Where this process computes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def compute_device(name: str = "auto") -> torch.device:
    """The device of that name; "auto" is the first GPU if there is one, else the CPU."""
    import torch  # not every image that holds the contracts has it

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
