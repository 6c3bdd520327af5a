"""What both protocols share: which models and versions there are, and what is checked before a model is asked."""

import time
from importlib.metadata import version as installed_version
from typing import Any

from kserve import InferResponse
from kserve.errors import InvalidInput
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.model_repository_extension import ModelRepositoryExtension

from components.contracts.errors import BadInput
from serving.transformer.errors import ModelFailed, NotFound, Unavailable
from serving.transformer.health import ModelHealth
from serving.transformer.payload import V2Request
from serving.transformer.validation import shorten

MAX_BODY_BYTES = 32 << 20


class TransformerDataPlane(DataPlane):  # type: ignore[misc]
    """The models of one release, each in one version: the release's digest.

    Args:
        model_registry: KServe's list of models.
        health: of the models behind them.
        version: of every model.
    """

    def __init__(self, model_registry: Any, health: ModelHealth, version: str) -> None:
        super().__init__(model_registry=model_registry)
        self._health = health
        self._version = version
        self.ending = False

    async def ready(self) -> bool:
        """Whether every model behind answers, and the service is not about to end."""
        if self.ending or self._health.failing:
            return False
        return all([await model.healthy() for model in self.model_registry.get_models().values()])

    def metadata(self) -> dict[str, Any]:
        """The server's name and version, and the extensions of V2 that it serves."""
        return {
            "name": "archipelago",
            "version": installed_version("archipelago-search"),
            "extensions": ["binary_tensor_data"],
        }

    async def model_metadata(self, model_name: str, version: str | None = None) -> dict[str, Any]:
        """A model's versions, inputs and outputs."""
        model = self._model(model_name, version)
        return {
            "name": model_name,
            "versions": [self._version],
            "platform": "archipelago",
            "inputs": model.get_input_types(),
            "outputs": model.get_output_types(),
        }

    async def model_ready(self, model_name: str, version: str | None = None) -> bool:
        """Whether a model that exists is ready."""
        return bool(await self._model(model_name, version).healthy())

    async def answer(self, request: V2Request, version: str | None, headers: dict[str, str]) -> InferResponse:
        """A model's response.

        Raises:
            NotFound: no such model or version.
            BadInput: the request asks for an output that the model has not.
            Unavailable: the model, or what is behind it, is not there now.
        """
        model = self._model(request.model, version)
        if not await model.healthy():
            raise Unavailable(f"model {request.model} is not ready")
        names = [output["name"] for output in model.get_output_types()]
        for name in request.outputs:
            if name not in names:
                raise BadInput(f"no output {shorten(name)} (outputs of {request.model}: {', '.join(names)})")
        began = time.monotonic()
        try:
            response, _ = await model(request, headers=headers)
        except ModelFailed as error:
            if gone := await self._health.failed_since(began):  # it can be asked again later
                raise Unavailable(f"{error} (being restored: {', '.join(gone)})") from error
            raise
        response.model_version = self._version
        return response

    def _model(self, name: str, version: str | None) -> Any:
        model = self.model_registry.get_model(name)
        if model is None:
            raise NotFound(f"no model {shorten(name)} (served: {', '.join(self.model_registry.get_models())})")
        if version and version != self._version:
            raise NotFound(f"model {name} has no version {shorten(version)} (served: {self._version})")
        return model


class FixedModels(ModelRepositoryExtension):  # type: ignore[misc]
    """A release's models are loaded at the start and stay."""

    async def load(self, model_name: str) -> None:
        """Refuse."""
        raise InvalidInput(f"model {shorten(model_name)}: models are fixed by the release and cannot be loaded")

    async def unload(self, model_name: str) -> None:
        """Refuse."""
        raise InvalidInput(f"model {shorten(model_name)}: models are fixed by the release and cannot be unloaded")
