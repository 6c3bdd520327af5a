"""Worker processes that share a machine's cores, and its GPU's memory."""

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import torch

# Of a GPU's memory, for tensors; every process needs some of the rest for itself.
_TENSORS = 0.9


def worker_pool(processes: int, start: Callable[..., None], *arguments: Any) -> ProcessPoolExecutor:
    """Fresh processes that run `start(*arguments)` first.

    Nothing is inherited: what they need is sent or loaded there, and a GPU may be used in each.
    """
    return ProcessPoolExecutor(
        processes, mp_context=get_context("spawn"), initializer=_start, initargs=(processes, start, arguments)
    )


def _start(processes: int, start: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // processes))
    if torch.cuda.is_available():
        # What a process keeps for reuse, others cannot have: it gives it up before it passes its share.
        torch.cuda.set_per_process_memory_fraction(_TENSORS / processes)
    start(*arguments)
