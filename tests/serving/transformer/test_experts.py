"""Relevance computed while a caller waits: micro-batches, deadlines, the lane, callers that go; with Triton played."""

import asyncio
import time
from typing import Any

import numpy as np
import pytest

from components.contracts.errors import BadInput
from serving.transformer import deadline
from serving.transformer.errors import TooLate
from serving.transformer.experts import Experts
from serving.transformer.lane import Lane

FOREVER = 1e12


class PlayedTriton:
    """Answers 0.5 after a while, and not at all beyond `until`, as Triton's client does."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.titles: list[list[str]] = []
        self.most_at_once = 0
        self._at_once = 0

    async def infer(self, model: str, inputs: dict[str, np.ndarray], until: float) -> dict[str, np.ndarray]:
        assert model == "relevance"
        self.titles.append([title.decode() for title in inputs["title"]])
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            async with asyncio.timeout(until - time.monotonic()):
                await asyncio.sleep(self.seconds)
        except TimeoutError as error:
            raise TooLate("too late") from error
        finally:
            self._at_once -= 1
        n = len(inputs["title"])
        return {"relevance": np.full(n, 0.5, dtype=np.float32), "experts": np.zeros((n, 2), dtype=np.int64)}


def experts(triton: Any, micro_batch: int = 2, places: int = 1, waiting: int = 8) -> Experts:
    return Experts(triton, micro_batch, Lane(places, waiting))


async def scored(asked: Experts, n: int, until: float = FOREVER) -> int:
    parts = await asked.score(["TH"] * n, ["q"] * n, [f"title {row}" for row in range(n)], until)
    return sum(len(part["relevance"]) for part in parts)


def test_pairs_go_a_micro_batch_at_a_time_in_their_order() -> None:
    triton = PlayedTriton()
    assert asyncio.run(scored(experts(triton), 5)) == 5
    assert triton.titles == [["title 0", "title 1"], ["title 2", "title 3"], ["title 4"]]


def test_no_micro_batch_is_begun_that_would_likely_miss_the_deadline() -> None:
    triton = PlayedTriton(seconds=0.15)
    started = time.monotonic()
    done = asyncio.run(scored(experts(triton), 20, started + 0.4))
    assert time.monotonic() - started < 0.45
    assert done == 4
    assert len(triton.titles) == 2


def test_a_micro_batch_that_takes_too_long_is_not_waited_for() -> None:
    started = time.monotonic()
    assert asyncio.run(scored(experts(PlayedTriton(seconds=5)), 4, started + 0.2)) == 0
    assert time.monotonic() - started < 0.4


def test_a_time_that_has_passed_computes_nothing() -> None:
    triton = PlayedTriton()
    assert asyncio.run(scored(experts(triton), 3, time.monotonic() - 1)) == 0
    assert triton.titles == []


def test_the_lane_is_bounded_and_so_is_the_wait_for_it() -> None:
    triton = PlayedTriton(seconds=0.1)

    async def crowd() -> list[int]:
        lane = experts(triton, places=2, waiting=2)
        until = time.monotonic() + 0.35
        return await asyncio.gather(*(scored(lane, 4, until) for _ in range(6)))

    done = asyncio.run(crowd())
    assert triton.most_at_once == 2
    assert done[:2] == [4, 4]  # had a place at once
    assert all(0 < each < 4 for each in done[2:4])  # waited, and had time for a part
    assert done[4:] == [0, 0]  # found the queue full


def test_a_caller_that_goes_stops_the_work_and_gives_its_place_back() -> None:
    triton = PlayedTriton(seconds=0.1)

    async def leave() -> int:
        lane = experts(triton)
        first = asyncio.create_task(scored(lane, 20))
        waits = asyncio.create_task(scored(lane, 20))
        await asyncio.sleep(0.15)
        first.cancel()
        waits.cancel()
        await asyncio.gather(first, waits, return_exceptions=True)
        begun = len(triton.titles)
        assert await scored(lane, 2, time.monotonic() + 1) == 2
        return begun

    assert asyncio.run(leave()) == 2


def test_time_is_counted_from_arrival() -> None:
    async def call() -> None:
        deadline.arrive(waits_s=0.5)
        await asyncio.sleep(0.1)
        here = deadline.call_of({})
        assert here.due - here.arrived == pytest.approx(0.5)
        assert here.due - time.monotonic() < 0.41
        assert deadline.call_of({"timeout": 200_000}).due - here.arrived == pytest.approx(0.2)
        assert deadline.call_of({"timeout": 900_000}).due == here.due
        assert here.within(0.3) - here.arrived == pytest.approx(0.3)

    asyncio.run(call())


@pytest.mark.parametrize("timeout", [0, -1, 0.5, "1", True, None, [5]])
def test_only_whole_microseconds_are_a_timeout(timeout: Any) -> None:
    if timeout is None:
        assert deadline.call_of({"timeout": timeout}).due == float("inf")
        return
    with pytest.raises(BadInput, match=r"parameter timeout: .*expected microseconds"):
        deadline.call_of({"timeout": timeout})
