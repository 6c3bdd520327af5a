"""What both protocols share: readiness, how large a request may be, how a binary body is read, and models that stay."""

import time
from typing import Any

from kserve.constants.constants import INFERENCE_CONTENT_LENGTH_HEADER
from kserve.errors import InvalidInput
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.infer_type import InferRequest
from kserve.protocol.model_repository_extension import ModelRepositoryExtension

from serving.transformer.binary_request import read_binary_request
from serving.transformer.errors import ModelFailed, Unavailable
from serving.transformer.health import ModelHealth

MAX_BODY_BYTES = 32 << 20


class TransformerDataPlane(DataPlane):  # type: ignore[misc]
    """Readiness is that of the models behind; a binary body that cannot be read is the caller's fault."""

    def __init__(self, model_registry: Any, health: ModelHealth) -> None:
        super().__init__(model_registry=model_registry)
        self.health = health

    async def ready(self) -> bool:
        """Whether every model behind answers."""
        return not self.health.failing

    async def infer(self, *args: Any, **kwargs: Any) -> Any:
        """Infer; what fails because a model has gone can be asked again later."""
        began = time.monotonic()
        try:
            return await super().infer(*args, **kwargs)
        except ModelFailed as error:
            if gone := await self.health.failed_since(began):
                raise Unavailable(f"{error} (being restored: {', '.join(gone)})") from error
            raise

    def decode_inference_request(self, body: Any, headers: Any, model_name: str) -> InferRequest:
        """A request from a JSON or a binary body."""
        if isinstance(body, bytes):
            return read_binary_request(body, headers.get(INFERENCE_CONTENT_LENGTH_HEADER), model_name)
        return super().decode_inference_request(body, headers, model_name)


class FixedModels(ModelRepositoryExtension):  # type: ignore[misc]
    """A release's models are loaded at the start and stay."""

    async def load(self, model_name: str) -> None:
        """Refuse."""
        raise InvalidInput(f"model {model_name!r}: models are fixed by the release and cannot be loaded")

    async def unload(self, model_name: str) -> None:
        """Refuse."""
        raise InvalidInput(f"model {model_name!r}: models are fixed by the release and cannot be unloaded")
