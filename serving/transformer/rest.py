"""The V2 protocol over REST: an application of our own, which KServe's REST server runs.

KServe 0.21's own endpoints ignore versions, write nulls, read no compressed body, and answer errors in three shapes.
"""

import json
import socket
from functools import partial
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from kserve.errors import InvalidInput
from kserve.protocol.rest.server import RESTServer
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from components.contracts.errors import BadInput
from serving.observe import metrics
from serving.observe.boundary import EVENTS_PATH, ObservedRest
from serving.observe.observer import Observer
from serving.page.routes import add_page
from serving.release import Release
from serving.transformer.admission import Admission, AdmittedRest, BoundedProtocol
from serving.transformer.api_page import ERRORS, INFERENCE, api_page
from serving.transformer.body import read_body
from serving.transformer.dataplane import FixedModels, TransformerDataPlane
from serving.transformer.errors import ServiceError, Unavailable, answer
from serving.transformer.events import EXAMPLE, Events
from serving.transformer.rest_messages import HEADER_LENGTH, read_request, write_response
from serving.transformer.validation import shorten


class Endpoints:
    """What the paths of V2 do."""

    def __init__(self, dataplane: TransformerDataPlane, models: FixedModels, observer: Observer) -> None:
        self._dataplane = dataplane
        self._models = models
        self._observer = observer

    def router(self) -> APIRouter:
        """All paths. A version in a path is the release's digest."""
        router = APIRouter(responses=ERRORS)
        get, post = partial(router.add_api_route, methods=["GET"]), partial(router.add_api_route, methods=["POST"])
        get("/", self.live, include_in_schema=False)
        get("/metrics", self.metrics, summary="Prometheus metrics")
        get("/v2", self.server, summary="Name, version and extensions of the server")
        get("/v2/health/live", self.live, summary="Is the server alive?")
        get("/v2/health/ready", self.ready, summary="Is the server ready, and Triton behind it?")
        get("/v2/models", self.models, summary="Names of the models")
        for path, shown in (("/v2/models/{model}", True), ("/v2/models/{model}/versions/{version}", False)):
            get(path, self.model, include_in_schema=shown, summary="Versions, inputs and outputs of a model")
            get(f"{path}/ready", self.model_ready, include_in_schema=shown, summary="Is a model ready?")
            post(f"{path}/infer", self.infer, include_in_schema=shown, summary="Ask a model", openapi_extra=INFERENCE)
        for verb, refuse in (("load", self._models.load), ("unload", self._models.unload)):
            post(f"/v2/repository/models/{{model_name}}/{verb}", refuse, include_in_schema=False)
        return router

    async def live(self) -> dict[str, Any]:
        """Always."""
        return {"live": True}

    async def metrics(self, request: Request) -> Response:
        """Of all processes that serve here."""
        as_of = self._observer.features_as_of
        content, content_type = metrics.page(as_of() if as_of else None, request.headers.get("accept"))
        return Response(content, headers={"content-type": content_type})

    async def ready(self) -> dict[str, Any]:
        """Raises Unavailable where it is not."""
        if not await self._dataplane.ready():
            raise Unavailable("the server is not ready")
        return {"ready": True}

    async def server(self) -> dict[str, Any]:
        """Server metadata."""
        return self._dataplane.metadata()

    async def models(self) -> dict[str, Any]:
        """As KServe lists them."""
        return {"models": list(self._dataplane.model_registry.get_models())}

    async def model(self, model: str, version: str | None = None) -> dict[str, Any]:
        """Model metadata."""
        return await self._dataplane.model_metadata(model, version)

    async def model_ready(self, model: str, version: str | None = None) -> dict[str, Any]:
        """Raises Unavailable where it is not."""
        if not await self._dataplane.model_ready(model, version):
            raise Unavailable(f"model {model} is not ready")
        return {"name": model, "ready": True}

    async def infer(self, request: Request, model: str, version: str | None = None) -> Response:
        """Inference, JSON or binary in either direction."""
        body = await read_body(request)
        asked = read_request(body, request.headers.get(HEADER_LENGTH), model)
        response = await self._dataplane.answer(asked, version, dict(request.headers))
        content, header_length = write_response(asked, response)
        if header_length is None:
            return Response(content, media_type="application/json")
        return Response(content, media_type="application/octet-stream", headers={HEADER_LENGTH: str(header_length)})


def application(
    dataplane: TransformerDataPlane,
    models: FixedModels,
    observer: Observer,
    admission: Admission,
    events: Events | None,
    page_of: Release | None = None,
) -> FastAPI:
    """Everything that the HTTP port answers; whatever is no result is `{"error": "..."}`.

    `page_of` is the release whose search page is served, too.
    """
    app = FastAPI(
        title="Archipelago", version=dataplane.metadata()["version"], docs_url=None, redoc_url=None,
        redirect_slashes=False,
    )  # fmt: skip
    app.include_router(Endpoints(dataplane, models, observer).router())
    if events is not None:
        app.add_api_route(
            EVENTS_PATH,
            events.post,
            methods=["POST"],
            responses=ERRORS,
            summary="Tell what users did",
            openapi_extra=EXAMPLE,
        )

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(api_page(app.openapi()))

    async def refuse(request: Request, error: Exception) -> JSONResponse:
        if isinstance(error, HTTPException):  # no such path, or not with this method
            message = f"{request.method} {shorten(request.url.path)}: {error.detail}"
            return JSONResponse({"error": message}, error.status_code, error.headers)
        if isinstance(error, RequestValidationError):
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            return JSONResponse({"error": f"malformed request: {where}: {first['msg']}"}, 400)
        return _error(answer(error, request.url.path))

    for kind in (HTTPException, RequestValidationError, ServiceError, InvalidInput, BadInput):
        app.add_exception_handler(kind, refuse)
    app.add_middleware(LastResort)
    if page_of:
        add_page(app, page_of)
    app.add_middleware(AdmittedRest, admission=admission, refuse=_error)
    app.add_middleware(ObservedRest, observer=observer)  # the outermost: it sees what others refuse
    return app


class LastResort:
    """ASGI middleware: an exception that nobody expected is a 500 and one line in the log."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        started = False

        async def note(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, note)
        except ClientDisconnect:
            return  # nobody is there to be told
        except Exception as error:  # noqa: BLE001  it is logged, and the caller is told
            response = _error(answer(error, ascii(scope.get("path"))))
            if not started:
                await response(scope, receive, send)


def _error(error: ServiceError) -> JSONResponse:
    return JSONResponse({"error": str(error)}, error.http_status, error.http_headers)


class _HttpProtocol(BoundedProtocol):
    """What is no HTTP at all gets an error of the same shape.

    h11, as the faster httptools loses the body of a request that offers another protocol, and Java's client offers
    HTTP/2 in every first one.
    """

    def send_400_response(self, msg: str) -> None:
        body = json.dumps({"error": msg}).encode()
        self.transport.write(
            b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\n"
            b"content-length: %d\r\n\r\n%s" % (len(body), body)
        )
        self.transport.close()


class TransformerRESTServer(RESTServer):  # type: ignore[misc]
    """Runs an application on one interface.

    Args:
        app: what it answers with.
        bound: the socket it listens on.
        grace_period: seconds that requests in flight have when it stops.
    """

    def __init__(self, app: FastAPI, bound: socket.socket, grace_period: int) -> None:
        host, port = bound.getsockname()[:2]
        super().__init__(app, None, None, port, grace_period=grace_period)
        self._bound = bound
        self.config.host = host
        self.config.http = _HttpProtocol
        self.config.ws = "none"

    def create_application(self) -> None:
        """The application is complete."""

    async def start(self) -> None:
        """Serve until the signal to stop."""
        await self._server.serve(sockets=[self._bound])
