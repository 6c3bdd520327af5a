"""Triton's `onnxruntime` backend where the native one is not installed: pip's onnxruntime behind the same name.

A launcher puts this folder beside the Python backend, so that a release's model configurations need not know which of
the two runs them. Requests of one `execute` run one by one: their shapes differ, and on a CPU nothing is gained.

Experts run at a low priority: what they compute takes long, and whoever asks for none should not wait for a core.
"""

import json
import os
from pathlib import Path

import onnxruntime
import triton_python_backend_utils as pb_utils

# A process of the usual priority gets about ten times the share of a core that one of this gets.
_NICE = 10


class TritonPythonModel:
    """One ONNX session per instance."""

    @staticmethod
    def auto_complete_config(config):
        """Configurations are complete as written."""
        return config

    def initialize(self, args):
        """Open `<repository>/<version>/model.onnx`."""
        config = json.loads(args["model_config"])
        options = onnxruntime.SessionOptions()
        threads = config["parameters"].get("intra_op_thread_count", {}).get("string_value")
        options.intra_op_num_threads = int(threads or os.environ.get("ARCHIPELAGO_ONNX_THREADS", "0"))
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        path = Path(args["model_repository"]) / args["model_version"] / config["default_model_filename"]
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.inputs = [tensor["name"] for tensor in config["input"]]
        if config["name"].startswith("expert_"):
            os.nice(_NICE)

    def execute(self, requests):
        """Answer each request; one that fails gets its own error."""
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        feeds = {name: pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in self.inputs}
        names = request.requested_output_names()
        try:
            values = self.session.run(names, feeds)
        except Exception as error:  # noqa: BLE001  whatever the runtime raises concerns this request alone
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error)))
        return pb_utils.InferenceResponse([pb_utils.Tensor(n, v) for n, v in zip(names, values, strict=True)])
