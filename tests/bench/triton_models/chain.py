"""The usual way to chain models inside Triton, for comparison: a Python model that calls the router, two packed experts
and the fusion, each a model of its own, one after the other (business logic scripting, synchronous).

With a parameter `micro_batch` an expert gets so many pairs at a time, shortest first and padded to the longest of them,
as model.py asks experts that know no packs.

Inputs `ids` and `lengths` as the experts take them; output `relevance` FP32 (1, n).
"""

import json
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
        micro_batch = json.loads(args["model_config"])["parameters"].get("micro_batch")
        self.micro_batch = micro_batch and int(micro_batch["string_value"])

    def execute(self, requests):
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        inputs = [pb_utils.get_input_tensor_by_name(request, name) for name in ("ids", "lengths")]
        try:
            query = pb_utils.Tensor("query", np.array([b"casing hp samsung"], dtype=object))
            mask = _call("chain_router", [query], "mask")
            vectors = [self._vectors(expert, inputs) for expert in self.experts]
            named = [pb_utils.Tensor(f"pooled_{slot}", own) for slot, own in enumerate(vectors)]
            pairs = inputs[1].as_numpy().shape[1]
            mask_nN = np.repeat(mask.as_numpy(), pairs, axis=0)[None]
            relevance = _call("chain_fusion", [*named, pb_utils.Tensor("mask", mask_nN)], "relevance")
        except pb_utils.TritonModelException as error:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error)))
        return pb_utils.InferenceResponse([pb_utils.Tensor("relevance", relevance.as_numpy())])

    def _vectors(self, expert, inputs):
        if not self.micro_batch:
            return _call(expert, inputs, "pooled").as_numpy()
        ids_T, lengths_R = (tensor.as_numpy()[0] for tensor in inputs)
        begins_R = np.cumsum(lengths_R) - lengths_R
        order = np.argsort(lengths_R, kind="stable")
        vectors = [None] * len(order)
        for start in range(0, len(order), self.micro_batch):
            rows = order[start : start + self.micro_batch]
            longest = lengths_R[rows[-1]]
            block = np.zeros((len(rows), longest), dtype=np.int32)
            for line, row in enumerate(rows):
                block[line, : lengths_R[row]] = ids_T[begins_R[row] : begins_R[row] + lengths_R[row]]
            padded = {"ids": block.reshape(1, -1), "lengths": np.full((1, len(rows)), longest, dtype=np.int32)}
            answer = _call(expert, [pb_utils.Tensor(*named) for named in padded.items()], "pooled").as_numpy()[0]
            for line, row in enumerate(rows):
                vectors[row] = answer[line]
        return np.stack(vectors)[None]


def _call(model, inputs, output):
    """Ask another model and wait."""
    asked = pb_utils.InferenceRequest(model_name=model, requested_output_names=[output], inputs=inputs)
    answer = asked.exec()
    if answer.has_error():
        raise pb_utils.TritonModelException(answer.error().message())
    return pb_utils.get_output_tensor_by_name(answer, output)
