"""Triton model `relevance`: (market, query, title BYTES (1, n)) -> (relevance FP32 (1, n), experts INT64 (1, n, k)).

Calls `router`, the chosen `expert_*` models and `fusion` inside the server (business logic scripting). On a GPU,
packed.py takes its place, and Triton gathers requests for it: hence the dimension before the pairs.

Triton's metrics tell what padding costs: archipelago_expert_tokens, of texts ("used") and with padding ("run").
"""

from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils
from cut_texts import CutTexts
from mixture import ServedMixture

from components.contracts import text


class TritonPythonModel:
    """Tokenizers, templates and settings are the files beside this one."""

    def initialize(self, args):
        """Load what lies in `<repository>/<version>`."""
        folder = Path(args["model_repository"]) / args["model_version"]
        self.mixture = ServedMixture(folder, CountedRun(), text, CutTexts())

    def execute(self, requests):
        """Answer each request; one that fails gets its own error."""
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        try:
            texts = [strings(request, name) for name in ("market", "query", "title")]
            relevance, experts = self.mixture.score(*texts)
        except Exception as error:  # noqa: BLE001  whatever went wrong concerns this request alone
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(f"relevance: {error}"))
        return pb_utils.InferenceResponse(
            [
                pb_utils.Tensor("relevance", np.ascontiguousarray(relevance[None], dtype=np.float32)),
                pb_utils.Tensor("experts", np.ascontiguousarray(experts[None], dtype=np.int64)),
            ]
        )


class CountedRun:
    """`run`, with the tokens that experts are given counted."""

    def __init__(self):
        self.family = pb_utils.MetricFamily(
            name="archipelago_expert_tokens",
            description="Tokens given to an expert: of texts (used), and with padding (run)",
            kind=pb_utils.MetricFamily.COUNTER,
        )
        self.counters = {}

    def __call__(self, model, feeds, outputs):
        """Call another model and wait."""
        mask = feeds.get("attention_mask")
        if mask is not None:
            self.count(model, "used", mask.sum())
            self.count(model, "run", mask.size)
        return run(model, feeds, outputs)

    def count(self, model, kind, tokens):
        """Add to a counter, which is made when it is first needed."""
        if (model, kind) not in self.counters:
            self.counters[model, kind] = self.family.Metric(labels={"expert": model, "kind": kind})
        self.counters[model, kind].increment(float(tokens))


def strings(request, name):
    """The UTF-8 strings of a BYTES input."""
    return [value.decode() for value in pb_utils.get_input_tensor_by_name(request, name).as_numpy().ravel()]


def run(model, feeds, outputs):
    """Call another model of this server and wait."""
    response = pb_utils.InferenceRequest(
        model_name=model,
        requested_output_names=outputs,
        inputs=[pb_utils.Tensor(name, np.ascontiguousarray(value)) for name, value in feeds.items()],
    ).exec()
    if response.has_error():
        raise RuntimeError(f"model {model}: {response.error().message()}")
    return [pb_utils.get_output_tensor_by_name(response, name).as_numpy() for name in outputs]
