"""Triton model `search`: a request's features to blended scores, in input order.

Inputs: numeric FP32 (n, F), relevance in its column, NaN where none is known; categorical INT64 (n, C); sequences INT64
(1, S, L), the user's, which all items share; market BYTES (1,).
Outputs: score, relevance, p_click, p_purchase FP32 (n,); where relevance is not known, the ranker sees none and the
blend sees the market's prior.

It calls the ranker and nothing else: no request waits here for an expert, which the transformer asks beforehand.
"""

import json
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils
from blend import Blend


class TritonPythonModel:
    """The place of relevance is a parameter of the model's configuration; the blend is the file beside this one."""

    def initialize(self, args):
        """Read parameter and blend."""
        parameters = json.loads(args["model_config"])["parameters"]
        self.column = int(parameters["relevance_column"]["string_value"])
        self.blend = Blend.load(Path(args["model_repository"]) / args["model_version"] / "blend.json")

    def execute(self, requests):
        """Answer each request; one that fails gets its own error."""
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        names = ("numeric", "categorical", "sequences", "market")
        inputs = {name: pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in names}
        try:
            outputs = self._search(inputs)
        except Exception as error:  # noqa: BLE001  whatever went wrong concerns this request alone
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(f"search: {error}"))
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, value) for name, value in outputs.items()])

    def _search(self, inputs):
        features = {name: inputs[name] for name in ("numeric", "categorical", "sequences")}
        p_click_n, p_purchase_n = run("ranker", features, ["p_click", "p_purchase"])
        relevance_n = inputs["numeric"][:, self.column]
        prior = self.blend.relevance_prior[inputs["market"][0].decode()]
        shown_n = np.where(np.isnan(relevance_n), np.float32(prior), relevance_n).astype(np.float32)
        return {
            "score": self.blend.score(shown_n, p_click_n, p_purchase_n),
            "relevance": shown_n,
            "p_click": p_click_n,
            "p_purchase": p_purchase_n,
        }


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
