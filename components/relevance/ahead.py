"""Prepare the next piece of work in a thread while the caller works on this one."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Piece = TypeVar("Piece")
Ready = TypeVar("Ready")


def prepared_ahead(prepare: Callable[[Piece], Ready], pieces: Iterable[Piece]) -> Iterator[tuple[Piece, Ready]]:
    """Each piece with what `prepare` makes of it, in order; one is ready or in the making while the last is used."""
    with ThreadPoolExecutor(1) as thread:
        waiting: tuple[Piece, Future[Ready]] | None = None
        for piece in pieces:
            following = (piece, thread.submit(prepare, piece))
            if waiting:
                yield waiting[0], waiting[1].result()
            waiting = following
        if waiting:
            yield waiting[0], waiting[1].result()
