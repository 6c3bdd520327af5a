"""The router as a model of its own: `query` BYTES (1), of one market, to `mask` FP32 (1, N)."""

import sys
from pathlib import Path

import numpy as np
import torch
import triton_python_backend_utils as pb_utils

_RELEVANCE = Path(__file__).absolute().parents[2] / "relevance" / "1"
sys.path.insert(0, str(_RELEVANCE))

from components.contracts.text import query_ngrams  # noqa: E402
from components.relevance.model.mixture import load_mixture  # noqa: E402


class TritonPythonModel:
    def initialize(self, args):
        torch.set_num_threads(1)
        mixture = load_mixture(_RELEVANCE)
        self.router, self.sizes = mixture.router, mixture.spec.router

    @torch.inference_mode()
    def execute(self, requests):
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        queries = [text.decode() for text in pb_utils.get_input_tensor_by_name(request, "query").as_numpy()]
        ngrams_QG = query_ngrams(queries, self.sizes.ngram_buckets, self.sizes.max_ngrams)
        _, mask_QN = self.router(torch.from_numpy(ngrams_QG), torch.zeros(len(queries), dtype=torch.int64))
        return pb_utils.InferenceResponse([pb_utils.Tensor("mask", mask_QN.numpy().astype(np.float32))])
