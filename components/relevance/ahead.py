"""Prepare the next pieces of work in threads while the caller works on this one."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Piece = TypeVar("Piece")
Ready = TypeVar("Ready")


def prepared_ahead(
    prepare: Callable[[Piece], Ready], pieces: Iterable[Piece], ahead: int = 1
) -> Iterator[tuple[Piece, Ready]]:
    """Each piece with what `prepare` makes of it, in order; while the caller uses one, `ahead` more are prepared."""
    with ThreadPoolExecutor(ahead) as threads:
        waiting: deque[tuple[Piece, Future[Ready]]] = deque()
        for piece in pieces:
            waiting.append((piece, threads.submit(prepare, piece)))
            if len(waiting) > ahead:
                first, ready = waiting.popleft()
                yield first, ready.result()
        while waiting:
            first, ready = waiting.popleft()
            yield first, ready.result()
