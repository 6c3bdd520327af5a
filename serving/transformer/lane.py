"""A lane for work that takes long: few places, few who wait for one, and nobody waits beyond its time."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from serving.observe.exchange import stage


class Lane:
    """Places in one process, given in order of arrival.

    Args:
        places: how many may be held at once.
        waiting: how many callers may wait for one.
    """

    def __init__(self, places: int, waiting: int) -> None:
        self._places = asyncio.Semaphore(places)
        self._most_waiting = waiting
        self._waiting = 0

    @asynccontextmanager
    async def place(self, until: float) -> AsyncIterator[bool]:
        """Hold a place for a while; false if there was none by `until` (of `time.monotonic`), or too many wait."""
        held = await self._acquire(until)
        try:
            yield held
        finally:
            if held:
                self._places.release()

    async def _acquire(self, until: float) -> bool:
        if self._places.locked() and self._waiting >= self._most_waiting:
            return False
        self._waiting += 1
        try:
            async with asyncio.timeout(max(0.0, until - time.monotonic())):
                with stage("queue"):
                    return await self._places.acquire()
        except TimeoutError:
            return False
        finally:
            self._waiting -= 1
