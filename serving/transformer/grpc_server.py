"""The V2 protocol over gRPC."""

from concurrent import futures
from typing import Any

import grpc  # type: ignore[import-untyped]
from kserve.errors import InvalidInput
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc
from kserve.protocol.grpc.interceptors import ExceptionToStatusInterceptor
from kserve.protocol.grpc.server import GRPCServer
from kserve.protocol.grpc.servicer import InferenceServicer
from kserve.protocol.infer_type import InferRequest

from components.contracts.tools.log import get_logger
from serving.observe.boundary import ObservedGrpc
from serving.observe.observer import Observer
from serving.transformer.dataplane import MAX_BODY_BYTES
from serving.transformer.deadline import arrive
from serving.transformer.errors import ModelFailed

_logger = get_logger(__name__)


class _Servicer(InferenceServicer):  # type: ignore[misc]
    """A message that cannot be decoded is the caller's fault."""

    async def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802  the protocol's name
        arrive(context.time_remaining())
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
        if isinstance(ex, ModelFailed):
            _logger.error("%s", ex)
            await context.abort(grpc.StatusCode.INTERNAL, str(ex))
        await super().handle_exception(ex, request, context, method_name)


class TransformerGRPCServer(GRPCServer):  # type: ignore[misc]
    """Listens on one interface, and takes messages up to the limit."""

    def __init__(self, host: str, observer: Observer, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._host = host
        self._observer = observer

    async def start(self, max_workers: int) -> None:
        """Serve until `stop`."""
        self._server = grpc.aio.server(
            futures.ThreadPoolExecutor(max_workers=max_workers),
            interceptors=(ObservedGrpc(self._observer), _ToStatus()),
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
