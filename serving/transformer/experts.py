"""Relevance computed while a caller waits: Triton's `relevance`, a micro-batch at a time, in a lane of its own.

Choices (ours):

- Whoever asks experts holds a place in a bounded lane; all other requests pass by.
- Before each micro-batch the time is looked at, and none is begun that would likely end too late. One that does end too
  late is not waited for.
- A caller that has gone cancels the task that answers it, and so the call to Triton, and begins no further batch.
"""

import time
from collections.abc import Sequence

import numpy as np

from serving.observe.exchange import current
from serving.transformer.errors import TooLate
from serving.transformer.lane import Lane
from serving.transformer.payload import bytes_tensor
from serving.transformer.triton_client import Triton


class Experts:
    """Scores pairs through Triton.

    Args:
        triton: the server.
        micro_batch: pairs of one call.
        lane: where a request waits for its turn.
    """

    def __init__(self, triton: Triton, micro_batch: int, lane: Lane) -> None:
        self._triton = triton
        self._micro_batch = micro_batch
        self._lane = lane

    async def score(
        self, markets: Sequence[str], queries: Sequence[str], titles: Sequence[str], until: float
    ) -> list[dict[str, np.ndarray]]:
        """Outputs `relevance` (m,) and `experts` (m, k) of each micro-batch of the first pairs, as many as fit.

        Args:
            markets, queries, titles: of n pairs.
            until: when the answer must be there, of `time.monotonic`.
        """
        done: list[dict[str, np.ndarray]] = []
        longest = 0.0
        async with self._lane.place(until) as held:
            for start in range(0, len(titles) if held else 0, self._micro_batch):
                rows = slice(start, start + self._micro_batch)
                begun = time.monotonic()
                if begun + longest >= until:
                    break
                inputs = {"market": markets[rows], "query": queries[rows], "title": titles[rows]}
                tensors = {name: bytes_tensor(texts) for name, texts in inputs.items()}
                try:
                    done.append(await self._triton.infer("relevance", tensors, until))
                except TooLate:
                    break
                current().experts.append(done[-1]["experts"])
                longest = max(longest, time.monotonic() - begun)
        return done
