"""A packed expert from an expert's folder, in the precision asked for."""

from typing import Literal

import torch

from components.contracts.errors import BadInput
from components.relevance.model.expert import Expert
from components.relevance.model.spec import ExpertSpec
from components.relevance.packed.trunk import PackedExpert

Precision = Literal["float32", "bfloat16", "float8"]


def packed_expert(expert: Expert, spec: ExpertSpec, precision: Precision) -> PackedExpert:
    """The same expert on packs, where its weights are.

    Raises:
        BadInput: 8-bit floats without a GPU that multiplies them, or an architecture that packed inference does not
            know.
    """
    if precision == "float8" and not _multiplies_float8():
        raise BadInput("precision float8 needs a GPU of compute capability 8.9 or more; use bfloat16")
    dtype = torch.float32 if precision == "float32" else torch.bfloat16
    return PackedExpert(expert, spec.max_tokens, dtype, float8=precision == "float8")


def _multiplies_float8() -> bool:
    return torch.cuda.is_available() and torch.cuda.get_device_capability() >= (8, 9)
