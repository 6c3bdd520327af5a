"""Where requests enter and leave the server: they are observed there, whatever answers or refuses them."""

import re
from typing import Any

from grpc_interceptor.server import AsyncServerInterceptor

from serving.observe.observer import Observer

_INFER = re.compile(r"/v2/models/([^/]+)(?:/versions/[^/]+)?/infer")
EVENTS_PATH = "/v1/events"
EVENTS_MODEL = "events"
# What nginx logs when a caller hung up before the answer.
_HUNG_UP = "499"


class ObservedRest:
    """ASGI middleware around inference and events; other paths pass unobserved."""

    def __init__(self, app: Any, observer: Observer) -> None:
        self._app = app
        self._observer = observer

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Observe one request."""
        model = _model(scope)
        if model is None:
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        with self._observer.observed("rest", model, headers) as exchange:
            exchange.status = _HUNG_UP

            async def noted(message: Any) -> None:
                if message["type"] == "http.response.start":
                    exchange.status = str(message["status"])
                await send(message)

            try:
                await self._app(scope, receive, noted)
            except Exception:
                exchange.status = "500"
                raise


def _model(scope: Any) -> str | None:
    if scope["type"] != "http":
        return None
    if scope["path"] == EVENTS_PATH:
        return EVENTS_MODEL
    found = _INFER.fullmatch(scope["path"])
    return found[1] if found else None


class ObservedGrpc(AsyncServerInterceptor):
    """gRPC interceptor around ModelInfer; it must come before those that turn exceptions into codes."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    async def intercept(self, method: Any, request_or_iterator: Any, context: Any, method_name: str) -> Any:
        """Observe one call."""
        if not method_name.endswith("/ModelInfer"):
            return await method(request_or_iterator, context)
        headers = {name: value for name, value in context.invocation_metadata() or () if isinstance(value, str)}
        with self._observer.observed("grpc", request_or_iterator.model_name, headers) as exchange:
            exchange.status = "CANCELLED"
            try:
                answer = await method(request_or_iterator, context)
                exchange.status = "OK"
            except Exception:
                code = context.code()
                exchange.status = getattr(code, "name", None) or "UNKNOWN"
                raise
        return answer
