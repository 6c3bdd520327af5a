"""Triton, as the transformer asks it: over gRPC, with KServe's client."""

import uuid
from collections.abc import Mapping

import grpc  # type: ignore[import-untyped]
import numpy as np
from kserve import InferInput, InferRequest
from kserve.inference_client import InferenceGRPCClient

from serving.transformer.errors import ModelFailed, Unavailable
from serving.transformer.payload import DATATYPES

TRITON_TIMEOUT_S = 30.0
_CANNOT_ANSWER_NOW = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)


class Triton:
    """The predictor behind both models."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._client: InferenceGRPCClient | None = None

    async def infer(self, model: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name.

        Raises:
            Unavailable: Triton cannot be reached, or not in time.
            ModelFailed: the model failed.
        """
        tensors = []
        for name, values in inputs.items():
            tensor = InferInput(name, list(values.shape), DATATYPES[values.dtype.str])
            tensor.set_data_from_numpy(values, binary_data=True)
            tensor.parameters = None
            tensors.append(tensor)
        try:
            answer = await self._connected().infer(InferRequest(model, tensors, request_id=uuid.uuid4().hex))
        except grpc.aio.AioRpcError as error:
            message = f"Triton model {model}: {error.code().name}: {error.details()}"
            raise Unavailable(message) if error.code() in _CANNOT_ANSWER_NOW else ModelFailed(message) from error
        return {output.name: output.as_numpy() for output in answer.outputs}

    async def is_ready(self) -> bool:
        """Whether Triton says that its models are ready."""
        try:
            return bool(await self._connected().is_server_ready(timeout=5))
        except grpc.aio.AioRpcError:
            return False

    def _connected(self) -> InferenceGRPCClient:
        # On first use: the channel belongs to the running event loop.
        if self._client is None:
            self._client = InferenceGRPCClient(self._address, timeout=TRITON_TIMEOUT_S, retries=2)
        return self._client
