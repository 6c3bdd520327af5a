"""What a process takes on: requests at once, slow bodies, callers that hang up."""

import asyncio
import json
from typing import Any

import pytest
from starlette.responses import JSONResponse

from serving.transformer.admission import Admission, AdmittedRest
from serving.transformer.errors import Overloaded, ServiceError

POST = {"type": "http", "method": "POST", "path": "/v2/models/search/infer", "headers": []}


def refuse(error: ServiceError) -> JSONResponse:
    return JSONResponse({"error": str(error)}, error.http_status, error.http_headers)


class Caller:
    """Sends the messages it is told, then waits; remembers what it was sent."""

    def __init__(self, *messages: dict[str, Any]) -> None:
        self.said = asyncio.Queue[dict[str, Any]]()
        for message in messages:
            self.said.put_nowait(message)
        self.heard: list[dict[str, Any]] = []

    async def send(self, message: dict[str, Any]) -> None:
        self.heard.append(message)

    @property
    def status(self) -> int | None:
        return self.heard[0]["status"] if self.heard else None


class Slow:
    """An application that reads the body, works for a while, and answers."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.finished = self.cancelled = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            while (await receive()).get("more_body"):
                pass
            await asyncio.sleep(self.seconds)
            self.finished += 1
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        except ServiceError as error:
            await refuse(error)(scope, receive, send)
        else:
            await JSONResponse({})(scope, receive, send)


BODY = {"type": "http.request", "body": b"{}", "more_body": False}


async def post(app: Any, caller: Caller) -> None:
    await asyncio.wait_for(app(POST, caller.said.get, caller.send), 5)


def test_beyond_the_bound_requests_are_refused_at_once_and_places_come_back() -> None:
    async def run() -> None:
        slow = Slow(0.1)
        app = AdmittedRest(slow, Admission(2), refuse)
        callers = [Caller(BODY) for _ in range(3)]
        await asyncio.gather(*(post(app, caller) for caller in callers))
        assert [caller.status for caller in callers] == [200, 200, 429]
        headers = dict(callers[2].heard[0]["headers"])
        assert headers[b"retry-after"] == b"1"
        assert "ask again" in json.loads(callers[2].heard[1]["body"])["error"]
        again = Caller(BODY)
        await post(app, again)
        assert again.status == 200

    asyncio.run(run())


def test_a_body_that_does_not_come_is_a_408() -> None:
    async def run() -> None:
        admission = Admission(1)
        app = AdmittedRest(Slow(), admission, refuse, body_s=0.1)
        caller = Caller({"type": "http.request", "body": b"{", "more_body": True})
        await post(app, caller)
        assert caller.status == 408
        async with admission.admitted():
            with pytest.raises(Overloaded):
                async with admission.admitted():
                    pass

    asyncio.run(run())


def test_a_caller_that_hangs_up_cancels_the_work() -> None:
    async def run() -> None:
        slow = Slow(5)
        caller = Caller(BODY)
        asked = asyncio.create_task(post(AdmittedRest(slow, Admission(1), refuse), caller))
        await asyncio.sleep(0.05)
        caller.said.put_nowait({"type": "http.disconnect"})
        await asyncio.wait_for(asked, 1)
        assert (slow.finished, slow.cancelled, caller.status) == (0, 1, None)

    asyncio.run(run())
