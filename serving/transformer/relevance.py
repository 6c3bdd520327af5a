"""The public model `relevance`: check the request, let the experts score its pairs, answer."""

from typing import Any

import numpy as np
from kserve import InferResponse, Model
from kserve.errors import InvalidInput

from components.contracts.errors import BadInput
from serving.observe.exchange import current
from serving.release import Release
from serving.transformer.deadline import call_of
from serving.transformer.errors import TooLate
from serving.transformer.experts import Experts
from serving.transformer.payload import raw_inputs, respond
from serving.transformer.triton_client import TRITON_TIMEOUT_S
from serving.transformer.validation import relevance_request


class Relevance(Model):  # type: ignore[misc]
    """`relevance`: score (market, query, title) pairs."""

    def __init__(self, release: Release, experts: Experts) -> None:
        super().__init__("relevance")
        self._markets = release.markets
        self._experts = experts
        self.ready = True

    async def predict(self, payload: Any, headers: Any = None) -> InferResponse:  # noqa: ARG002  KServe's signature
        """Validate and score; all pairs or none."""
        try:
            request = relevance_request(raw_inputs(payload), self._markets)
            call = call_of(payload.parameters)
        except BadInput as error:
            raise InvalidInput(str(error)) from error
        current().items = len(request.titles)
        pairs = (request.markets, request.queries, request.titles)
        parts = await self._experts.score(*pairs, call.within(TRITON_TIMEOUT_S))
        done = sum(len(part["relevance"]) for part in parts)
        if done < len(request.titles):
            raise TooLate(f"{done} of {len(request.titles)} pairs were scored in the time there was")
        outputs = {name: np.concatenate([part[name] for part in parts]) for name in ("relevance", "experts")}
        return respond(payload, self.name, outputs, {})

    def get_input_types(self) -> list[dict[str, Any]]:
        """V2 metadata."""
        return [{"name": name, "datatype": "BYTES", "shape": [-1]} for name in ("market", "query", "title")]

    def get_output_types(self) -> list[dict[str, Any]]:
        """V2 metadata."""
        return [
            {"name": "relevance", "datatype": "FP32", "shape": [-1]},
            {"name": "experts", "datatype": "INT64", "shape": [-1, -1]},
        ]
