"""Triton model `relevance` on a GPU: the contract of model.py, which calls other models instead.

The whole mixture is in this process, its experts on packs.
"""

from pathlib import Path

import numpy as np
from cut_texts import CutTexts
from pipeline import PipelinedModel, array, cuts, settings

from components.relevance.scoring.served import PackedMixture

NAMES = ("market", "query", "title")


class TritonPythonModel(PipelinedModel):
    """Weights and modules are the files beside this one."""

    def initialize(self, args):
        """Load every expert and warm it up: ready means warm."""
        self.name = args["model_name"]
        parameters, sizes, self.device = settings(args)
        folder = Path(args["model_repository"]) / args["model_version"]
        self.mixture = PackedMixture(folder, parameters["precision"], sizes, self.device, CutTexts())
        warm = self.mixture.prepare([next(iter(self.mixture.markets))], ["warm"], ["up"])
        self.mixture.run(warm).cpu()
        self.start()

    def read(self, request):
        """Markets, queries and titles."""
        texts = [[value.decode() for value in array(request, name)] for name in NAMES]
        self.mixture.check(*texts)
        return texts

    def prepare(self, inputs):
        """(where the next request's pairs begin, all pairs prepared)."""
        columns = ([text for texts in inputs for text in texts[place]] for place in range(len(NAMES)))
        return cuts([len(markets) for markets, _, _ in inputs]), self.mixture.prepare(*columns)

    def run(self, prepared):
        """Relevance of the distinct pairs."""
        return self.mixture.run(prepared[1])

    def parts(self, prepared, relevance_U):
        """Each request's outputs."""
        begins, pairs = prepared
        relevance = np.split(relevance_U[pairs.inverse_n], begins)
        experts = np.split(pairs.chosen_nK, begins)
        return [{"relevance": r[None], "experts": e[None]} for r, e in zip(relevance, experts, strict=True)]
