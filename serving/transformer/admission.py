"""How much a process takes on: requests in flight, connections, and how long a body may take to arrive.

Choices (ours):

- Beyond `in_flight` inferences at once the next is refused at once, before it is read: 429 with Retry-After over REST,
  RESOURCE_EXHAUSTED over gRPC. Waiting longer would only make late answers.
- A REST body that is not there BODY_S after its head is a 408; a connection that sends no head in that time is closed.
- A REST caller that hangs up cancels the work done for it, as gRPC does by itself.
- Connections beyond CONNECTIONS are closed as they come.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc  # type: ignore[import-untyped]
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from serving.transformer.deadline import arrive
from serving.transformer.errors import Overloaded, ServiceError

IN_FLIGHT = 64
BODY_S = 10.0
CONNECTIONS = 512


class TooSlow(ServiceError):
    """The body did not arrive in time."""

    http_status = 408


class Admission:
    """Counts inferences of both protocols in one process.

    Args:
        in_flight: most at once.
    """

    def __init__(self, in_flight: int) -> None:
        self._most = in_flight
        self._now = 0

    @asynccontextmanager
    async def admitted(self) -> AsyncIterator[None]:
        """Count a request in, and out.

        Raises:
            Overloaded: there are too many.
        """
        if self._now >= self._most:
            raise Overloaded(f"{self._now} requests are being answered already; ask again after a second")
        self._now += 1
        try:
            yield
        finally:
            self._now -= 1


class AdmittedRest:
    """ASGI middleware around POST requests.

    Args:
        app: what answers.
        admission: shared with gRPC.
        refuse: makes the response of an error.
        body_s: seconds that a body may take.
    """

    def __init__(
        self, app: ASGIApp, admission: Admission, refuse: Callable[[ServiceError], ASGIApp], body_s: float = BODY_S
    ) -> None:
        self._app = app
        self._admission = admission
        self._refuse = refuse
        self._body_s = body_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take the request on, or refuse it."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        arrive()
        try:
            async with self._admission.admitted():
                await self._while_there(scope, receive, send)
        except Overloaded as error:
            await self._refuse(error)(scope, receive, send)

    async def _while_there(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; a body must come in time, and a caller that hangs up after it cancels the work."""
        until = asyncio.get_running_loop().time() + self._body_s
        heard, answered = asyncio.Event(), False

        async def hear() -> Message:
            if heard.is_set():
                return await asyncio.shield(leaving)
            try:
                async with asyncio.timeout_at(until):
                    message = await receive()
            except TimeoutError as error:
                raise TooSlow(f"the body had not arrived after {self._body_s:g} s") from error
            if not message.get("more_body"):
                heard.set()
            return message

        async def say(message: Message) -> None:
            nonlocal answered
            answered = answered or message["type"] == "http.response.start"
            await send(message)

        async def leave() -> Message:
            await heard.wait()
            return await receive()

        leaving = asyncio.ensure_future(leave())
        working = asyncio.ensure_future(self._app(scope, hear, say))
        try:
            await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not working.done() and not answered:
                working.cancel()
            await asyncio.wait((working,))
            if not working.cancelled():
                working.result()
        finally:
            leaving.cancel()
            working.cancel()


class AdmittedGrpc(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Interceptor around ModelInfer; it must come after the one that turns exceptions into statuses."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], details: Any) -> Any:
        """Take the call on, or refuse it."""
        handler = await continuation(details)
        if handler is None or not details.method.endswith("/ModelInfer"):
            return handler

        async def call(request: Any, context: Any) -> Any:
            async with self._admission.admitted():
                return await handler.unary_unary(request, context)

        return grpc.unary_unary_rpc_method_handler(call, handler.request_deserializer, handler.response_serializer)


class BoundedProtocol(H11Protocol):
    """Connections of one process: a bounded number, and none that says nothing."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Keep the connection, or close it."""
        super().connection_made(transport)
        self._silent = True
        if len(self.connections) > CONNECTIONS:
            transport.close()
            return
        self.loop.call_later(BODY_S, self._close_if_silent)

    def handle_events(self) -> None:
        """Note that a head has arrived."""
        super().handle_events()
        self._silent = self._silent and self.scope is None

    def _close_if_silent(self) -> None:
        if self._silent:
            self.transport.close()
