"""The processes that train one model together: this one alone, or those that torchrun started, by the same code.

Needs torch; whoever only asks for a training reads `config` and `jobs`, which don't.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from components.contracts.tools.device import compute_device


@dataclass(frozen=True)
class World:
    """This process among all that train together.

    Attributes:
        rank: its number, from 0; the first one writes.
        size: how many there are, on all machines.
        device: where it computes.
        leads_machine: whether it is the first one of its machine.
    """

    rank: int
    size: int
    device: torch.device
    leads_machine: bool = True

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes and speaks for all."""
        return self.rank == 0

    def share(self, rows_B: Tensor) -> Tensor:
        """This process's part of a batch (B,), of which every process knows the whole; may be empty."""
        return rows_B[self.rank :: self.size]

    def seed(self, seed: int, step: int) -> None:
        """Seed this process's random numbers by a training's seed, its step, and this process's number among all.

        What is drawn depends on the step alone: a training that was interrupted repeats what it would have drawn, with
        no generator's state to keep. Processes draw apart from each other.
        """
        torch.manual_seed((seed * 1_000_003 + step) * self.size + self.rank)

    @contextmanager
    def own_randomness(self) -> Iterator[None]:
        """Leave the random numbers of whoever called as they were."""
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            yield

    def distribute(self, model: nn.Module) -> nn.Module:
        """The model as all processes train it: DDP, which averages their gradients; alone, the model itself."""
        if self.size == 1:
            return model
        ids = [self.device.index] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(model, device_ids=ids)

    def sum(self, own: Tensor) -> Tensor:
        """The sum over all processes, the same in each."""
        if self.size > 1:
            own = own.to(self.device, copy=True)
            dist.all_reduce(own)
        return own

    def said_by_first(self, own: Tensor) -> Tensor:
        """The first process's value in every process: rounding may differ between them, decisions may not."""
        if self.size > 1:
            own = own.to(self.device, copy=True)
            dist.broadcast(own, 0)
        return own

    def wait(self) -> None:
        """Go on when every process has come here."""
        if self.size > 1:
            dist.barrier()


def alone(device: torch.device) -> World:
    """A process that trains by itself."""
    return World(0, 1, device)


@contextmanager
def processes(device: str = "auto") -> Iterator[World]:
    """The process group that torchrun's environment asks for (NCCL on GPUs, else Gloo), or this process alone.

    Raises:
        BadInput: the step asked for more GPUs than it sees.
    """
    size, local = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_RANK", "0"))
    chosen = compute_device(device)
    if chosen.type == "cuda":
        chosen = torch.device("cuda", local)
        torch.cuda.set_device(chosen)
    if size == 1:
        yield alone(chosen)
        return
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield World(dist.get_rank(), size, chosen, leads_machine=local == 0)
    finally:
        dist.destroy_process_group()
