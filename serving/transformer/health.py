"""Whether every model inside Triton answers, and how one that does not comes back.

A Python model runs in a process of its own. Triton does not restart one that died: it answers errors for ever, and says
that the model is ready. Choices (ours):

- Every model is asked a real, tiny inference every second, in the background: a probe of the service's own
  readiness reads what was found and costs nothing.
- A model that answers with an error is unloaded and loaded again, those that call others last. One that is only slow is
  busy: it is left alone, and counts as failed when it has not answered within a request's own limit. One that answers
  errors slowly, to the requests before the probe, is dead as well: Triton's counters tell.
- Whether a request failed by itself, or because a model is gone, is asked at once (`failed_since`).
"""

import asyncio
import math
import threading
import time
from collections.abc import Collection, Coroutine
from dataclasses import dataclass
from typing import Any

import httpx

from components.contracts.tools.log import get_logger

_PERIOD_S = 1.0
_PERIOD_FAILING_S = 0.5
_LOOK_S = 2.0  # what has not answered by then is looked at next time
_ANSWER_S = 30.0  # a request's own limit
_CALLERS = ("relevance", "search")  # models that call others: a dead callee fails them too
_ONES = ("attention_mask", "mask", "lengths")  # of these, zeros would say that there is nothing to compute
_logger = get_logger(__name__)


@dataclass(frozen=True)
class _Asked:
    """A probe that waits for its answer, and how many requests of the model had succeeded and failed before it."""

    task: asyncio.Task[None]
    succeeded: int
    failed: int


class ModelHealth:
    """Asks Triton's models over its REST port, in a thread of its own.

    Args:
        url: of Triton's REST port; its repository API must be allowed (`--model-control-mode=explicit`).
        market: any market of the release, for models that take one.
        recovers: whether a dead model is loaded anew from here: of several processes that watch, one does it.
    """

    def __init__(self, url: str, market: str, recovers: bool = True) -> None:
        self._recovers = recovers
        self._market = market
        self._http = httpx.AsyncClient(base_url=url, timeout=_ANSWER_S)
        self._loop = asyncio.new_event_loop()
        self._one_at_a_time = asyncio.Lock()
        self._inputs: dict[str, list[dict[str, Any]]] = {}  # of every model that was ever loaded
        self._asked: dict[str, _Asked] = {}
        self._failing: dict[str, str] = {"Triton": "not asked yet"}
        self._failed_at: dict[str, float] = {}
        self._looked_at = -math.inf

    def start(self) -> None:
        """Begin to watch; the thread ends with the process."""
        threading.Thread(target=self._run, args=(self._watch(),), name="model-health", daemon=True).start()

    @property
    def failing(self) -> dict[str, str]:
        """What does not answer, and why: by model, or "Triton" for all of it. Empty: the service is ready."""
        return self._failing

    async def failed_since(self, moment: float) -> list[str]:
        """The models that failed at any time since `moment` (of `time.monotonic`), this one included: it is looked."""
        looking = asyncio.run_coroutine_threadsafe(self._look(time.monotonic()), self._loop)
        await asyncio.wrap_future(looking)
        return [model for model, failed_at in self._failed_at.items() if failed_at >= moment]

    def _run(self, watch: Coroutine[Any, Any, None]) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(watch)
        finally:  # nobody knows any more
            self._failing = {"Triton": "its models are not watched any more"}

    async def _watch(self) -> None:
        while True:
            await self._look(time.monotonic())
            if self._recovers:
                await self._recover(self._failing)
            await asyncio.sleep(_PERIOD_FAILING_S if self._failing else _PERIOD_S)

    async def _look(self, asked_at: float) -> None:
        async with self._one_at_a_time:
            if self._looked_at >= asked_at:
                return
            self._looked_at = time.monotonic()
            try:
                failing = await self._find_failing()
            except httpx.HTTPError as error:
                failing = {"Triton": f"{type(error).__name__}: {error}"}
            if failing != self._failing:
                _logger.log(30 if failing else 20, "models that do not answer: %s", failing or "none")
            self._failing = failing
            self._failed_at |= dict.fromkeys(failing, time.monotonic())

    async def _find_failing(self) -> dict[str, str]:
        index = await self._post("/v2/repository/index", {})
        counts = await self._counts()
        # A model that was never asked for at the start has no state.
        for model in [each["name"] for each in index.json() if each.get("state")]:
            if model not in self._asked:
                self._asked[model] = _Asked(asyncio.create_task(self._ask(model)), *counts.get(model, (0, 0)))
        if not self._asked:
            return {"Triton": "no model is loaded"}
        await asyncio.wait([asked.task for asked in self._asked.values()], timeout=_LOOK_S)
        counts = await self._counts()
        failing = {}
        for model, asked in list(self._asked.items()):
            succeeded, failed = counts.get(model, (0, 0))
            if not asked.task.done():
                if failed > asked.failed and succeeded == asked.succeeded:
                    failing[model] = f"{failed - asked.failed} requests before the probe failed, none succeeded"
                elif model in self._failing:
                    failing[model] = self._failing[model]
                continue
            del self._asked[model]
            error = asked.task.exception()
            if isinstance(error, httpx.HTTPError):
                failing[model] = str(error) or type(error).__name__
            elif error:
                raise error
        return failing

    async def _recover(self, failing: Collection[str]) -> None:
        for model in sorted(failing, key=lambda name: (name in _CALLERS, name)):
            if not await self._is_dead(model, failing):
                continue
            _logger.warning("model %s is loaded anew", model)
            try:
                await self._post(f"/v2/repository/models/{model}/unload", {})
                await self._post(f"/v2/repository/models/{model}/load", {})
            except httpx.HTTPError as error:
                _logger.warning("model %s was not loaded: %s", model, error)

    async def _is_dead(self, model: str, failing: Collection[str]) -> bool:
        if model == "Triton":
            return False
        if asked := self._asked.pop(model, None):  # the probe waits behind requests that fail
            asked.task.cancel()
            return model not in _CALLERS or set(_CALLERS).issuperset(failing)
        try:
            await self._ask(model)
        except httpx.HTTPStatusError:
            return True
        except httpx.HTTPError:
            pass  # too slow, or Triton has gone
        return False

    async def _counts(self) -> dict[str, tuple[int, int]]:
        """Requests so far, by model: how many succeeded, how many failed."""
        answer = await self._http.get("/v2/models/stats")
        _check(answer)
        stats = {each["name"]: each["inference_stats"] for each in answer.json()["model_stats"]}
        return {model: (int(each["success"]["count"]), int(each["fail"]["count"])) for model, each in stats.items()}

    async def _ask(self, model: str) -> None:
        """One inference of the smallest inputs that a model takes.

        Raises:
            HTTPStatusError: it answers with an error.
            HTTPError: it does not answer.
        """
        if model not in self._inputs:
            answer = await self._http.get(f"/v2/models/{model}")
            _check(answer)
            self._inputs[model] = [self._tensor(each) for each in answer.json()["inputs"]]
        await self._post(f"/v2/models/{model}/infer", {"inputs": self._inputs[model]})

    def _tensor(self, described: dict[str, Any]) -> dict[str, Any]:
        shape = [max(size, 1) for size in described["shape"]]
        value: object = 1 if described["name"] in _ONES else 0
        if described["datatype"] == "BYTES":
            value = self._market if described["name"] == "market" else "a"
        return described | {"shape": shape, "data": [value] * math.prod(shape)}

    async def _post(self, path: str, body: dict[str, Any]) -> httpx.Response:
        answer = await self._http.post(path, json=body)
        _check(answer)
        return answer


def _check(answer: httpx.Response) -> None:
    if not answer.is_success:
        raise httpx.HTTPStatusError(answer.text[:200], request=answer.request, response=answer)
