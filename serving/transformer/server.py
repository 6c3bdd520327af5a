"""KServe's model server, made to listen where it is told, answer 400 to anything malformed, and keep its models.

KServe 0.21 binds every interface, answers 422 or 500 to some malformed bodies, accepts bodies of any size over REST,
and lets any caller unload a model.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent import futures
from typing import Any

import grpc  # type: ignore[import-untyped]
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from kserve import ModelServer
from kserve.constants.constants import INFERENCE_CONTENT_LENGTH_HEADER
from kserve.errors import InvalidInput, ServerNotReady
from kserve.model import BaseKServeModel
from kserve.model_server import app
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc
from kserve.protocol.grpc.interceptors import ExceptionToStatusInterceptor
from kserve.protocol.grpc.server import GRPCServer
from kserve.protocol.grpc.servicer import InferenceServicer
from kserve.protocol.infer_type import InferRequest
from kserve.protocol.model_repository_extension import ModelRepositoryExtension
from kserve.protocol.rest.server import RESTServer

from serving.transformer.binary_request import read_binary_request

MAX_BODY_BYTES = 32 << 20
_GRACE_S = 5

Readiness = Callable[[], Awaitable[bool]]


class Unavailable(ServerNotReady):  # type: ignore[misc]
    """The predictor cannot answer now: 503 over REST, UNAVAILABLE over gRPC."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        self.error_msg = reason


class _DataPlane(DataPlane):  # type: ignore[misc]
    """Readiness includes the predictor's, and a binary body that cannot be read is the caller's fault."""

    def __init__(self, model_registry: Any, is_predictor_ready: Readiness) -> None:
        super().__init__(model_registry=model_registry)
        self._is_predictor_ready = is_predictor_ready

    async def ready(self) -> bool:
        return await self._is_predictor_ready()

    def decode_inference_request(self, body: Any, headers: Any, model_name: str) -> InferRequest:
        if isinstance(body, bytes):
            return read_binary_request(body, headers.get(INFERENCE_CONTENT_LENGTH_HEADER), model_name)
        return super().decode_inference_request(body, headers, model_name)


class _FixedModels(ModelRepositoryExtension):  # type: ignore[misc]
    """A release's models are loaded at the start and stay."""

    async def load(self, model_name: str) -> None:
        raise InvalidInput(f"model {model_name!r}: models are fixed by the release and cannot be loaded")

    async def unload(self, model_name: str) -> None:
        raise InvalidInput(f"model {model_name!r}: models are fixed by the release and cannot be unloaded")


class _Servicer(InferenceServicer):  # type: ignore[misc]
    """A message that cannot be decoded is the caller's fault."""

    async def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802  the protocol's name
        try:
            InferRequest.from_grpc(request)
        except InvalidInput:
            raise
        except Exception as error:
            raise InvalidInput(f"malformed request ({type(error).__name__})") from error
        return await super().ModelInfer(request, context)


class _ToStatus(ExceptionToStatusInterceptor):  # type: ignore[misc]
    """A caller's mistake is answered, and not worth a traceback in the log."""

    async def handle_exception(self, ex: Exception, request: Any, context: Any, method_name: str) -> None:
        if isinstance(ex, InvalidInput):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, ex.reason)
        await super().handle_exception(ex, request, context, method_name)


class _GRPCServer(GRPCServer):  # type: ignore[misc]
    def __init__(self, host: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._host = host

    async def start(self, max_workers: int) -> None:
        self._server = grpc.aio.server(
            futures.ThreadPoolExecutor(max_workers=max_workers),
            interceptors=(_ToStatus(),),
            options=[
                ("grpc.max_send_message_length", MAX_BODY_BYTES),
                ("grpc.max_receive_message_length", MAX_BODY_BYTES),
            ],
        )
        servicer = _Servicer(self._data_plane, self._model_repository_extension)
        grpc_predict_v2_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, self._server)
        self._server.add_insecure_port(f"{self._host}:{self._port}")
        await self._server.start()
        await self._server.wait_for_termination()


class _RESTServer(RESTServer):  # type: ignore[misc]
    def create_application(self) -> None:
        super().create_application()
        app.add_middleware(BodyLimit, max_bytes=MAX_BODY_BYTES)
        app.add_exception_handler(RequestValidationError, _refuse_body)
        app.add_exception_handler(InvalidInput, _refuse)


async def _refuse(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"error": str(error)}, status_code=400)


async def _refuse_body(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return JSONResponse({"error": f"malformed request: {where}: {first['msg']}"}, status_code=400)


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


class TransformerServer(ModelServer):  # type: ignore[misc]
    """A model server on one interface.

    Args:
        host: interface to listen on.
        http_port, grpc_port: its ports.
        is_predictor_ready: asked for the server's own readiness.
    """

    def __init__(self, host: str, http_port: int, grpc_port: int, is_predictor_ready: Readiness) -> None:
        super().__init__(http_port=http_port, grpc_port=grpc_port, grace_period=_GRACE_S, enable_latency_logging=False)
        logging.getLogger("kserve.trace").setLevel(logging.WARNING)
        logging.getLogger("uvicorn.access").setLevel(logging.WARNING)
        self.host = host
        self.dataplane = _DataPlane(self.registered_models, is_predictor_ready)
        self.model_repository_extension = _FixedModels(self.registered_models)

    def start(self, models: list[BaseKServeModel]) -> None:
        """Serve the models until SIGTERM or SIGINT."""
        self._register_and_check_atleast_one_model_is_ready(models)
        self._rest_server = _RESTServer(
            "kserve.model_server:app",
            self.dataplane,
            self.model_repository_extension,
            self.http_port,
            grace_period=self.grace_period,
        )
        self._rest_server.config.host = self.host
        self._grpc_server = _GRPCServer(
            self.host,
            self.grpc_port,
            self.dataplane,
            self.model_repository_extension,
            kwargs={},
            grace_period=self.grace_period,
        )
        self.servers = [self._rest_server.start(), self._grpc_server.start(self.max_threads)]
        self.register_signal_handler()
        asyncio.run(self._serve())
