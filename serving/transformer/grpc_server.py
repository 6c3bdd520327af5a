"""The V2 protocol over gRPC."""

from collections.abc import Awaitable, Callable, Mapping
from concurrent import futures
from typing import Any

import grpc  # type: ignore[import-untyped]
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc
from kserve.protocol.grpc.server import GRPCServer
from kserve.protocol.grpc.servicer import InferenceServicer
from kserve.utils.utils import to_headers

from components.contracts.errors import BadInput
from serving.observe.boundary import ObservedGrpc
from serving.observe.observer import Observer
from serving.transformer.admission import Admission, AdmittedGrpc
from serving.transformer.dataplane import MAX_BODY_BYTES
from serving.transformer.deadline import arrive
from serving.transformer.errors import answer
from serving.transformer.payload import V2Request, bytes_values, raw_bytes, refuse_other_encodings, v2_request
from serving.transformer.validation import MAX_ITEMS, MAX_PARAMETERS, MAX_TENSORS, RawInput, check_count, shorten

_MAX_FIELDS = 1024
# Wire types of protobuf, and how many bytes the fixed ones take.
_VARINT, _BYTES, _FIXED = 0, 2, {1: 8, 5: 4}


class Servicer(InferenceServicer):  # type: ignore[misc]
    """What the calls of V2 do; those that KServe does well are its own."""

    async def ModelReady(self, request: Any, context: Any) -> Any:  # noqa: ARG002, D102, N802  the protocol's name
        return pb.ModelReadyResponse(ready=await self._data_plane.model_ready(request.name, request.version))

    async def ModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: ARG002, D102, N802
        return pb.ModelMetadataResponse(**await self._data_plane.model_metadata(request.name, request.version))

    async def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: D102, N802
        arrive(context.time_remaining())
        asked = read_message(request)
        return write_message(await self._data_plane.answer(asked, request.model_version, to_headers(context)))


def read_message(message: Any) -> V2Request:
    """A request from protobuf.

    Raises:
        BadInput: it cannot be read; says where.
    """
    check_count(len(message.inputs), MAX_TENSORS, "inputs")
    check_count(len(message.outputs), MAX_TENSORS, "outputs")
    raw = message.raw_input_contents
    if raw and len(raw) != len(message.inputs):
        raise BadInput(f"{len(raw)} tensors in raw_input_contents for {len(message.inputs)} inputs")
    inputs = []
    for place, tensor in enumerate(message.inputs):
        where = f"input {shorten(tensor.name)}"
        refuse_other_encodings(_parameters(tensor.parameters, where), where)
        if raw and tensor.HasField("contents"):
            raise BadInput(f"{where}: has contents and raw_input_contents, expected one of them")
        check_count(len(tensor.shape), 1, f"dimensions of {where}")
        check_count(len(tensor.contents.bytes_contents), MAX_ITEMS, f"values of {where}")
        values: list[bytes] = []
        if tensor.datatype == "BYTES":  # of another datatype it is refused, whatever it holds
            values = bytes_values(raw[place], where) if raw else list(tensor.contents.bytes_contents)
        inputs.append(RawInput(tensor.name, tensor.datatype, list(tensor.shape), values))
    outputs = [(each.name, _parameters(each.parameters, f"output {shorten(each.name)}")) for each in message.outputs]
    parameters = _parameters(message.parameters, "the request")
    return v2_request(message.model_name, message.id, inputs, outputs, parameters)


def check_fields(message: bytes) -> None:
    """Refuse a message of very many fields before it is decoded: an empty one takes 40 times its two bytes.

    Raises:
        BadInput: it has more than `_MAX_FIELDS`.
    """
    start = count = 0
    while start < len(message):
        count += 1
        check_count(count, _MAX_FIELDS, "fields of the message or more")
        key, start = _varint(message, start)
        kind = key & 7
        if kind == _VARINT:
            _, start = _varint(message, start)
        elif kind == _BYTES:
            length, start = _varint(message, start)
            start += length
        elif kind in _FIXED:
            start += _FIXED[kind]
        else:
            return  # the decoder says what is wrong


def _varint(message: bytes, start: int) -> tuple[int, int]:
    value = shift = 0
    for place in range(start, min(start + 10, len(message))):
        value |= (message[place] & 127) << shift
        if message[place] < 128:
            return value, place + 1
        shift += 7
    return value, len(message)


def write_message(response: Any) -> Any:
    """A response as protobuf, its tensors raw, as Triton sends them."""
    return pb.ModelInferResponse(
        model_name=response.model_name,
        model_version=response.model_version,
        id=response.id,
        parameters={
            name: pb.InferParameter(**{"bool_param" if isinstance(value, bool) else "string_param": value})
            for name, value in (response.parameters or {}).items()
        },
        outputs=[{"name": each.name, "datatype": each.datatype, "shape": each.shape} for each in response.outputs],
        raw_output_contents=[raw_bytes(each.data) for each in response.outputs],
    )


def _parameters(found: Mapping[str, Any], where: str) -> dict[str, object]:
    check_count(len(found), MAX_PARAMETERS, f"parameters of {where}")
    read: dict[str, object] = {}
    for name, parameter in found.items():
        kind = parameter.WhichOneof("parameter_choice")
        if kind is None:  # Triton's protocol has types that KServe's has not
            raise BadInput(f"{where}: parameter {shorten(name)} has no value of a type bool, int64 or string")
        read[name] = getattr(parameter, kind)
    return read


class _Undecodable(BadInput):
    """Stands for a message that cannot be decoded, so that it is refused like any other."""

    model_name = ""


class _Answers(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Every exception becomes a status and a message, that of a message that cannot be decoded, too."""

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], details: Any) -> Any:
        handler = await continuation(details)
        if handler is None:
            return None

        def decode(message: bytes) -> Any:
            try:
                check_fields(message)
                return handler.request_deserializer(message)
            except BadInput as error:
                return _Undecodable(str(error))
            except DecodeError as error:
                return _Undecodable(f"malformed message of {len(message)} bytes: {error}")

        async def call(request: Any, context: Any) -> Any:
            try:
                if isinstance(request, _Undecodable):
                    raise request
                return await handler.unary_unary(request, context)
            except Exception as error:  # noqa: BLE001  it is logged, and the caller is told
                answered = answer(error, details.method)
                await context.abort(
                    answered.grpc_status,
                    str(answered),
                    tuple((name.lower(), value) for name, value in answered.http_headers.items()),
                )

        return grpc.unary_unary_rpc_method_handler(call, decode, handler.response_serializer)


class TransformerGRPCServer(GRPCServer):  # type: ignore[misc]
    """Listens on one interface, and takes messages up to the limit."""

    def __init__(
        self, host: str, observer: Observer, admission: Admission, shared_port: bool, *args: Any, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._host = host
        self._admission = admission
        self._shared_port = shared_port
        self._observer = observer

    async def start(self, max_workers: int) -> None:
        """Serve until `stop`."""
        self._server = grpc.aio.server(
            futures.ThreadPoolExecutor(max_workers=max_workers),
            interceptors=(ObservedGrpc(self._observer), _Answers(), AdmittedGrpc(self._admission)),
            options=[
                ("grpc.max_send_message_length", MAX_BODY_BYTES),
                ("grpc.max_receive_message_length", MAX_BODY_BYTES),
                ("grpc.so_reuseport", int(self._shared_port)),
            ],
        )
        servicer = Servicer(self._data_plane, self._model_repository_extension)
        grpc_predict_v2_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, self._server)
        self._server.add_insecure_port(f"{self._host}:{self._port}")
        await self._server.start()
        await self._server.wait_for_termination()
