"""The usual way to chain models inside Triton, for comparison: a Python model that calls the router, two packed experts
and the fusion, each a model of its own, one after the other (business logic scripting, synchronous).

Inputs `ids` and `lengths` as the experts take them; output `relevance` FP32 (1, n).
"""

import sys
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

_RELEVANCE = Path(__file__).absolute().parents[2] / "relevance" / "1"
sys.path.insert(0, str(_RELEVANCE))

from components.relevance.model.spec import load_experts  # noqa: E402


class TritonPythonModel:
    def initialize(self, args):
        self.experts = [f"expert_{spec.name}" for spec in load_experts(_RELEVANCE / "experts")]

    def execute(self, requests):
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        inputs = [pb_utils.get_input_tensor_by_name(request, name) for name in ("ids", "lengths")]
        try:
            query = pb_utils.Tensor("query", np.array([b"casing hp samsung"], dtype=object))
            mask = _call("chain_router", [query], "mask")
            vectors = [_call(expert, inputs, "pooled") for expert in self.experts]
            named = [pb_utils.Tensor(f"pooled_{slot}", own.as_numpy()) for slot, own in enumerate(vectors)]
            pairs = inputs[1].as_numpy().shape[1]
            mask_nN = np.repeat(mask.as_numpy(), pairs, axis=0)[None]
            relevance = _call("chain_fusion", [*named, pb_utils.Tensor("mask", mask_nN)], "relevance")
        except pb_utils.TritonModelException as error:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error)))
        return pb_utils.InferenceResponse([pb_utils.Tensor("relevance", relevance.as_numpy())])


def _call(model, inputs, output):
    """Ask another model and wait."""
    asked = pb_utils.InferenceRequest(model_name=model, requested_output_names=[output], inputs=inputs)
    answer = asked.exec()
    if answer.has_error():
        raise pb_utils.TritonModelException(answer.error().message())
    return pb_utils.get_output_tensor_by_name(answer, output)
