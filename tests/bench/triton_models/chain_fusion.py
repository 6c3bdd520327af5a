"""The fusion as a model of its own, on the GPU: `pooled_0`, `pooled_1` FP32 (1, n, D) and `mask` FP32 (1, n, N) to
`relevance` FP32 (1, n).
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
        self.fusion = load_mixture(_RELEVANCE).fusion.cuda()

    @torch.inference_mode()
    def execute(self, requests):
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        names = ("pooled_0", "pooled_1", "mask")
        inputs = [pb_utils.get_input_tensor_by_name(request, name).as_numpy()[0] for name in names]
        lexical_n = np.zeros(inputs[-1].shape[0], dtype=np.float32)  # tokens were given, no texts
        relevance_n = self.fusion(*(torch.from_numpy(values).cuda() for values in (*inputs, lexical_n))).cpu().numpy()
        return pb_utils.InferenceResponse([pb_utils.Tensor("relevance", np.ascontiguousarray(relevance_n[None]))])
