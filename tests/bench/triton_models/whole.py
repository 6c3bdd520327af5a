"""The release's `relevance` on a GPU with tokens that are ready, to be compared with chain.py, which takes the same.

Inputs `ids` and `lengths`, which both experts read; output `relevance` FP32 (1, n).
"""

import sys
from pathlib import Path

import numpy as np
import torch

_RELEVANCE = Path(__file__).absolute().parents[2] / "relevance" / "1"
sys.path.insert(0, str(_RELEVANCE))

from pipeline import PipelinedModel, array, cuts, settings  # noqa: E402

from components.contracts.text import query_ngrams  # noqa: E402
from components.relevance.model.mixture import load_mixture  # noqa: E402
from components.relevance.packed.tokens import Tokens  # noqa: E402
from components.relevance.scoring.served import PackedMixture, PreparedPairs  # noqa: E402


class TritonPythonModel(PipelinedModel):
    def initialize(self, args):
        self.name = args["model_name"]
        parameters, sizes, self.device = settings(args)
        self.mixture = PackedMixture(_RELEVANCE, parameters["precision"], sizes, self.device)
        self.sizes = load_mixture(_RELEVANCE).spec.router
        self.start()

    def read(self, request):
        lengths_R = array(request, "lengths").astype(np.int64)
        return Tokens(array(request, "ids"), lengths_R, np.zeros_like(lengths_R))

    def prepare(self, inputs):
        counts = [len(tokens.lengths_R) for tokens in inputs]
        tokens, experts = Tokens.joined(inputs), self.mixture.experts
        pairs = np.arange(sum(counts))
        packs = [expert.packed(tokens) for expert in experts]
        # One query of a constant text per request, as the chain's router is asked.
        ngrams_QG = query_ngrams(["casing hp samsung"] * len(inputs), self.sizes.ngram_buckets, self.sizes.max_ngrams)
        with torch.inference_mode():
            _, mask_QN = self.mixture.router(torch.from_numpy(ngrams_QG), torch.zeros(len(inputs), dtype=torch.int64))
        rows, mask_UN = [torch.from_numpy(pairs)] * len(experts), mask_QN.repeat_interleave(torch.tensor(counts), dim=0)
        lexical_U = torch.zeros(len(pairs))  # tokens were given, no texts
        return cuts(counts), PreparedPairs(pairs, np.zeros((len(pairs), 2)), mask_UN, lexical_U, rows, packs)

    def run(self, prepared):
        return self.mixture.run(prepared[1])

    def parts(self, prepared, relevance_U):
        return [{"relevance": relevance_n[None]} for relevance_n in np.split(relevance_U, prepared[0])]
