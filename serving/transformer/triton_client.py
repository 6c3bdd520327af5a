"""Triton, as the transformer asks it: over gRPC, with the stubs that come with KServe.

KServe's own client is not used: it copies each tensor twice, and logs a traceback for every failure.
"""

import json
import math
import time
import uuid
from collections.abc import Mapping

import grpc  # type: ignore[import-untyped]
import numpy as np
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

from serving.observe import tracing
from serving.observe.exchange import stage
from serving.transformer.errors import ModelFailed, TooLate, Unavailable
from serving.transformer.payload import DATATYPES

TRITON_TIMEOUT_S = 30.0
# All pairs of a request are one row of such a model's batch: Triton gathers requests there.
_GATHERED = ("relevance",)
_DTYPES = {datatype: dtype for dtype, datatype in DATATYPES.items() if datatype != "BYTES"}
_CANNOT_ANSWER_NOW = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)
_RETRY_ONCE = {
    "maxAttempts": 2,
    "initialBackoff": "0.1s",
    "maxBackoff": "1s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}
_OPTIONS = [
    # A Triton that was started anew is found at once: by default a channel waits up to two minutes.
    *((f"grpc.{name}_reconnect_backoff_ms", 100) for name in ("initial", "min", "max")),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.service_config", json.dumps({"methodConfig": [{"name": [{}], "retryPolicy": _RETRY_ONCE}]})),
]


class Triton:
    """The predictor behind both models."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._stub: GRPCInferenceServiceStub | None = None

    async def infer(
        self, model: str, inputs: Mapping[str, np.ndarray], until: float = math.inf
    ) -> dict[str, np.ndarray]:
        """Outputs by name, all of them numbers, by `until` (of `time.monotonic`).

        The first dimension of a model that gathers requests is put on and taken off here.

        Raises:
            TooLate: not by then.
            Unavailable: Triton cannot be reached, or has not answered in TRITON_TIMEOUT_S.
            ModelFailed: the model failed.
        """
        left_s = until - time.monotonic()
        if left_s <= 0:
            raise TooLate(f"Triton model {model}: the request's time had passed before it was asked")
        request = pb.ModelInferRequest(model_name=model, id=uuid.uuid4().hex)
        for name, values in inputs.items():
            values = values[None] if model in _GATHERED else values
            request.inputs.add(name=name, datatype=DATATYPES[values.dtype.str], shape=values.shape)
            request.raw_input_contents.append(_raw(values))
        try:
            with stage(f"triton_{model}"):
                timeout_s = min(left_s, TRITON_TIMEOUT_S)
                answer = await self._connected().ModelInfer(request, timeout=timeout_s, metadata=tracing.carried())
        except grpc.aio.AioRpcError as error:
            message = f"Triton model {model}: {error.code().name}: {error.details()}"
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED and left_s < TRITON_TIMEOUT_S:
                raise TooLate(message) from error
            raise Unavailable(message) if error.code() in _CANNOT_ANSWER_NOW else ModelFailed(message) from error
        outputs = {
            output.name: np.frombuffer(raw, _DTYPES[output.datatype]).reshape(output.shape)
            for output, raw in zip(answer.outputs, answer.raw_output_contents, strict=True)
        }
        return {name: values[0] for name, values in outputs.items()} if model in _GATHERED else outputs

    def _connected(self) -> GRPCInferenceServiceStub:
        # On first use: the channel belongs to the running event loop.
        if self._stub is None:
            self._stub = GRPCInferenceServiceStub(grpc.aio.insecure_channel(self._address, options=_OPTIONS))
        return self._stub


def _raw(values: np.ndarray) -> bytes:
    if values.dtype != object:
        return values.tobytes()
    return b"".join(len(text).to_bytes(4, "little") + text for text in values.flat)
