"""Checkpoints of a tuning: one safetensors file with what was learned, the best so far, and the optimiser's moments.

Written whole or not at all. With several processes all take part, the first one writes, and each reads. What does not
learn (the trunk) is not in it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

_NOW, _BEST, _MOMENTS = "now/", "best/", "optimiser/"


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds beside the network's and the optimiser's state, which loading has put in place."""

    facts: dict[str, str]
    best: dict[str, Tensor]


def learned_state(network: nn.Module) -> dict[str, Tensor]:
    """What learns, whole and on the CPU; with several processes the first one has it, the others get nothing."""
    options = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)
    state: Any = get_model_state_dict(network, options=options)
    return {name: value.detach().clone() for name, value in state.items()}


def save_checkpoint(
    path: Path,
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    best: Mapping[str, Tensor],
    facts: Mapping[str, str],
    writes: bool,
) -> None:
    """Write `path`; every process calls this, the one that `writes` does."""
    now = learned_state(network)
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    moments: Any = get_optimizer_state_dict(network, optimiser, options=options)
    if not writes:
        return
    tensors = {f"{_NOW}{name}": value for name, value in now.items()}
    tensors |= {f"{_BEST}{name}": value for name, value in best.items()}
    for name, entry in moments["state"].items():
        tensors |= {f"{_MOMENTS}{name}/{key}": torch.as_tensor(value) for key, value in entry.items()}
    staging = path.with_name(f".{path.name}.tmp")
    save_file({name: value.contiguous() for name, value in tensors.items()}, staging, metadata=dict(facts))
    staging.rename(path)


def read_facts(path: Path) -> dict[str, str]:
    """The facts of a checkpoint."""
    with safe_open(path, framework="pt") as file:
        return dict(file.metadata())


def load_checkpoint(path: Path, network: nn.Module, optimiser: torch.optim.Optimizer) -> Checkpoint:
    """Put the stored state into network and optimiser; what else the file holds."""
    with safe_open(path, framework="pt") as file:
        facts, names = dict(file.metadata()), list(file.keys())
        stored = {name: file.get_tensor(name) for name in names}
    now: Any = _part(stored, _NOW)
    set_model_state_dict(network, now, options=StateDictOptions(full_state_dict=True, strict=False))
    moments: dict[str, dict[str, Tensor]] = {}
    for name, value in _part(stored, _MOMENTS).items():
        parameter, _, key = name.rpartition("/")
        moments.setdefault(parameter, {})[key] = value
    groups: Any = get_optimizer_state_dict(network, optimiser)
    state: Any = {"state": moments, "param_groups": groups["param_groups"]}
    set_optimizer_state_dict(network, optimiser, state, options=StateDictOptions(full_state_dict=True))
    return Checkpoint(facts, _part(stored, _BEST))


def _part(stored: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in stored.items() if name.startswith(prefix)}
