"""Triton model `search`: a request's features to blended scores, in input order.

Inputs: numeric FP32 (n, F), the stored relevance in its column and NaN where none is stored; categorical INT64 (n, C);
sequences INT64 (n, S, L); market and query BYTES (1,); titles BYTES (n,).
Outputs: score, relevance, p_click, p_purchase FP32 (n,); relevance_source BYTES (n,): stored, computed or default.

Relevance is computed, through `relevance`, for the first `max_computed` items without one, a micro-batch at a time, as
long as `deadline_ms` has not passed. For the rest the ranker sees no relevance and the blend sees the market's prior.
"""

import json
import time
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils
from blend import Blend


class TritonPythonModel:
    """Limits are parameters of the model's configuration; the blend is the file beside this one."""

    def initialize(self, args):
        """Read limits and blend."""
        parameters = json.loads(args["model_config"])["parameters"]
        limits = {name: int(value["string_value"]) for name, value in parameters.items()}
        self.column = limits["relevance_column"]
        self.max_computed = limits["max_computed"]
        self.micro_batch = limits["micro_batch"]
        self.deadline_s = limits["deadline_ms"] / 1000
        self.blend = Blend.load(Path(args["model_repository"]) / args["model_version"] / "blend.json")

    def execute(self, requests):
        """Answer each request; one that fails gets its own error."""
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        names = ("numeric", "categorical", "sequences", "market", "query", "titles")
        inputs = {name: pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in names}
        try:
            outputs = self._search(inputs)
        except Exception as error:  # noqa: BLE001  whatever went wrong concerns this request alone
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(f"search: {error}"))
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, value) for name, value in outputs.items()])

    def _search(self, inputs):
        numeric_nF = np.array(inputs["numeric"], dtype=np.float32)
        relevance_n = numeric_nF[:, self.column]  # a view: computed values reach the ranker
        source_n = np.where(np.isnan(relevance_n), b"default", b"stored").astype(object)
        missing = np.flatnonzero(np.isnan(relevance_n))[: self.max_computed]
        for rows, values in self._compute(missing, inputs):
            relevance_n[rows] = values
            source_n[rows] = b"computed"
        p_click_n, p_purchase_n = run(
            "ranker",
            {"numeric": numeric_nF, "categorical": inputs["categorical"], "sequences": inputs["sequences"]},
            ["p_click", "p_purchase"],
        )
        prior = self.blend.relevance_prior[inputs["market"][0].decode()]
        shown_n = np.where(np.isnan(relevance_n), np.float32(prior), relevance_n).astype(np.float32)
        score_n = self.blend.score(shown_n, p_click_n, p_purchase_n)
        return {
            "score": score_n,
            "relevance": shown_n,
            "p_click": p_click_n,
            "p_purchase": p_purchase_n,
            "relevance_source": source_n,
        }

    def _compute(self, rows, inputs):
        """Yield (rows, relevance) a micro-batch at a time; none is begun that would likely end after the deadline."""
        started = time.monotonic()
        longest = 0.0
        for start in range(0, len(rows), self.micro_batch):
            begun = time.monotonic()
            if begun + longest - started >= self.deadline_s:
                return
            batch = rows[start : start + self.micro_batch]
            feeds = {
                "market": np.repeat(inputs["market"], len(batch)),
                "query": np.repeat(inputs["query"], len(batch)),
                "title": inputs["titles"][batch],
            }
            yield batch, run("relevance", feeds, ["relevance"])[0]
            longest = max(longest, time.monotonic() - begun)


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
