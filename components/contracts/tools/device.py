"""Where this process computes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from components.contracts.errors import BadInput

if TYPE_CHECKING:
    import torch

# Environment variable that holds the number of GPUs that this step asked its cluster for.
GPUS_WANTED = "ARCHIPELAGO_GPUS"


def compute_device(name: str = "auto") -> torch.device:
    """The device of that name; "auto" is the first GPU if there is one, else the CPU.

    Raises:
        BadInput: the step asked for more GPUs than it sees; to compute on the CPU instead would take days in silence.
    """
    import torch  # not every image that holds the contracts has it

    require_gpus(torch.cuda.device_count())
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def require_gpus(found: int) -> None:
    """Refuse to go on with fewer GPUs than the step asked for.

    Raises:
        BadInput: how many were asked for and found, and what to do.
    """
    wanted = int(os.environ.get(GPUS_WANTED, "0"))
    if found < wanted:
        raise BadInput(
            f"this step asked for {wanted} GPUs and sees {found}: use a train image with CUDA (TORCH=cuda), check the "
            "node's driver and device plugin, or set the step's gpus in the profile's resources"
        )
