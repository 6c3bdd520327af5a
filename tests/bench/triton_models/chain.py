"""The usual way to chain models inside Triton, for comparison: a Python model that calls two packed experts one after
the other (business logic scripting, synchronous) and fuses their vectors on the GPU.

Inputs `ids` and `lengths` as the experts take them; output `relevance` FP32 (1, n).
"""

import sys
from pathlib import Path

import numpy as np
import torch
import triton_python_backend_utils as pb_utils

_RELEVANCE = Path(__file__).absolute().parents[2] / "relevance" / "1"
sys.path.insert(0, str(_RELEVANCE))

from components.relevance.model.mixture import load_mixture  # noqa: E402


class TritonPythonModel:
    def initialize(self, args):
        torch.set_num_threads(1)
        mixture = load_mixture(_RELEVANCE)
        self.experts = [f"expert_{name}" for name in mixture.spec.experts]
        self.fusion = mixture.fusion.cuda()

    def execute(self, requests):
        return [self._answer(request) for request in requests]

    @torch.inference_mode()
    def _answer(self, request):
        inputs = [pb_utils.get_input_tensor_by_name(request, name) for name in ("ids", "lengths")]
        vectors = []
        for expert in self.experts:
            asked = pb_utils.InferenceRequest(model_name=expert, requested_output_names=["pooled"], inputs=inputs)
            answer = asked.exec()
            if answer.has_error():
                return pb_utils.InferenceResponse(error=answer.error())
            vectors.append(torch.from_numpy(pb_utils.get_output_tensor_by_name(answer, "pooled").as_numpy()[0]).cuda())
        mask_nN = torch.ones(len(vectors[0]), len(vectors), device="cuda")
        relevance_n = self.fusion(*vectors, mask_nN).cpu().numpy()
        return pb_utils.InferenceResponse([pb_utils.Tensor("relevance", np.ascontiguousarray(relevance_n[None]))])
