"""Worker processes that share a machine's cores."""

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import torch


def worker_pool(processes: int, start: Callable[..., None], *arguments: Any) -> ProcessPoolExecutor:
    """Fresh processes, each with its share of the cores, that run `start(*arguments)` first.

    Nothing is inherited: what they need is sent or loaded there, and a GPU may be used in each.
    """
    threads = max(1, len(os.sched_getaffinity(0)) // processes)
    return ProcessPoolExecutor(
        processes, mp_context=get_context("spawn"), initializer=_start, initargs=(threads, start, arguments)
    )


def _start(threads: int, start: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(threads)
    start(*arguments)
