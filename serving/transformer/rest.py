"""The V2 protocol over REST."""

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from kserve.errors import InvalidInput
from kserve.model_server import app
from kserve.protocol.rest.server import RESTServer

from components.contracts.tools.log import get_logger
from serving.observe.boundary import ObservedRest
from serving.observe.observer import Observer
from serving.transformer.dataplane import MAX_BODY_BYTES
from serving.transformer.errors import ModelFailed, NotNow

_logger = get_logger(__name__)


class TransformerRESTServer(RESTServer):  # type: ignore[misc]
    """Refuses bodies beyond the limit, and says what is wrong with a malformed one."""

    def __init__(self, observer: Observer, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._observer = observer

    def create_application(self) -> None:
        """Complete the application that uvicorn serves."""
        super().create_application()
        app.add_middleware(BodyLimit, max_bytes=MAX_BODY_BYTES)
        app.add_middleware(ObservedRest, observer=self._observer)  # the outermost: it sees what others refuse
        app.add_exception_handler(RequestValidationError, _refuse_body)
        app.add_exception_handler(InvalidInput, _refuse)
        app.add_exception_handler(NotNow, _not_now)
        app.add_exception_handler(ModelFailed, _failed)


async def _refuse(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"error": str(error)}, status_code=400)


async def _failed(_: Request, error: Exception) -> JSONResponse:
    _logger.error("%s", error)
    return JSONResponse({"error": str(error)}, status_code=500)


async def _refuse_body(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return JSONResponse({"error": f"malformed request: {where}: {first['msg']}"}, status_code=400)


async def _not_now(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, NotNow)
    return JSONResponse({"error": error.reason}, status_code=error.http_status, headers=error.http_headers)


class BodyLimit:
    """ASGI middleware: refuse request bodies of more than `max_bytes`, announced or streamed."""

    def __init__(self, application: FastAPI, max_bytes: int) -> None:
        self._app = application
        self._max_bytes = max_bytes

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass the request on, or answer 400."""
        announced = dict(scope.get("headers", ())).get(b"content-length", b"0")
        if announced.isdigit() and int(announced) > self._max_bytes:
            message = f"request of {int(announced)} bytes, at most {self._max_bytes}"
            await JSONResponse({"error": message}, status_code=400)(scope, receive, send)
            return
        received = 0

        async def limited() -> Any:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_bytes:
                raise InvalidInput(f"request of more than {self._max_bytes} bytes")
            return message

        await self._app(scope, limited, send)
