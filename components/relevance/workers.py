"""Worker processes that share a machine's cores."""

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import torch


def worker_pool(processes: int, start: Callable[..., None], *arguments: Any) -> ProcessPoolExecutor:
    """Fresh processes that run `start(*arguments)` first.

    Nothing is inherited: what they need is sent or loaded there.
    """
    return ProcessPoolExecutor(
        processes, mp_context=get_context("spawn"), initializer=_start, initargs=(processes, start, arguments)
    )


def _start(processes: int, start: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // processes))
    start(*arguments)
