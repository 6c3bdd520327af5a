"""Triton model `expert_<name>` on a GPU: (ids INT32 (1, t), lengths INT32 (1, n)) -> pooled FP32 (1, n, d).

`ids` are the tokens of n pairs, one after another, and `lengths` the tokens of each: nothing is padded. Weights and
modules are those of the model `relevance`.
"""

import sys
from pathlib import Path

import numpy as np

_VERSION = Path(__file__).absolute().parent
_RELEVANCE = _VERSION.parents[1] / "relevance" / _VERSION.name
sys.path.insert(0, str(_RELEVANCE))

from pipeline import PipelinedModel, array, cuts, settings  # noqa: E402

from components.relevance.model.spec import load_experts  # noqa: E402
from components.relevance.packed.tokens import Tokens  # noqa: E402
from components.relevance.scoring.served import EXPERTS, ServedExpert  # noqa: E402


class TritonPythonModel(PipelinedModel):
    """The parameter `expert` says which one it is."""

    def initialize(self, args):
        """Load the expert and warm it up: ready means warm."""
        self.name = args["model_name"]
        parameters, sizes, self.device = settings(args)
        spec = next(spec for spec in load_experts(_RELEVANCE / EXPERTS) if spec.name == parameters["expert"])
        folder = _RELEVANCE / EXPERTS / spec.name
        self.expert = ServedExpert(folder, spec, parameters["precision"], sizes, self.device)
        self.start()

    def read(self, request):
        """Tokens of the request's pairs."""
        lengths = array(request, "lengths").astype(np.int64)
        # A request is of one query: its pairs may begin with the same tokens.
        tokens = Tokens(array(request, "ids"), lengths, np.zeros_like(lengths))
        self.expert.check(tokens)
        return tokens

    def prepare(self, inputs):
        """(where the next request's pairs begin, all pairs in packs)."""
        return cuts([len(own.lengths_R) for own in inputs]), self.expert.packed(Tokens.joined(inputs))

    def run(self, prepared):
        """Vectors of all pairs."""
        return self.expert.run(prepared[1])

    def parts(self, prepared, vectors_RD):
        """Each request's outputs."""
        return [{"pooled": own_RD[None]} for own_RD in np.split(vectors_RD, prepared[0])]
