"""Triton model configurations: typed descriptions -> protobuf -> `config.pbtxt` text.

One repository serves CPU and GPU: `config.pbtxt` is the GPU's, `configs/cpu.pbtxt` is chosen by
`tritonserver --model-config-name=cpu`. Queue limits, queue timeouts and priorities are left alone on purpose: they
stall the dynamic batcher of the server version in use, and deadlines are kept by the transformer instead.
"""

import functools
import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from google.protobuf import text_format  # type: ignore[import-untyped]

from components.contracts.errors import BadInput

DType = Literal["FP32", "INT32", "INT64", "STRING"]
Device = Literal["cpu", "gpu"]
DEVICES: tuple[Device, ...] = ("cpu", "gpu")
_NAME = re.compile(r"[a-z][a-z0-9_-]*")


@dataclass(frozen=True)
class Tensor:
    """A named input or output; `dims` exclude the batch dimension where the model is batched, -1 is any size.

    A `ragged` input is gathered from requests whose sizes differ; only the Python backend takes one.
    """

    name: str
    dtype: DType
    dims: tuple[int, ...]
    ragged: bool = False


@dataclass(frozen=True)
class TritonModel:
    """One model of the repository.

    Attributes:
        name: folder and configuration name.
        backend: "onnxruntime" or "python".
        max_batch: largest first dimension of a batched model; 0 for a model whose dims are complete.
        file: the model's file in its version's folder; None for the backend's usual name.
        parameters: string parameters the model or its backend reads.
        gpu_batch_delay_us: how long the dynamic batcher gathers on a GPU (microseconds); None for no dynamic batching.
            A CPU gains nothing from waiting, so its configuration never has a batcher.
        runs_on_cpu: the model's own code stays on the CPU even where a GPU serves the others.
    """

    name: str
    backend: Literal["onnxruntime", "python"]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    max_batch: int = 0
    file: str | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    gpu_batch_delay_us: int | None = None
    runs_on_cpu: bool = False

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise BadInput(f"Triton model name {self.name!r}: expected lower-case letters, digits, _ and -")
        names = [tensor.name for tensor in (*self.inputs, *self.outputs)]
        if len(set(names)) < len(names):
            raise BadInput(f"Triton model {self.name}: a tensor name appears twice in {names}")
        if self.gpu_batch_delay_us is not None and self.max_batch < 1:
            raise BadInput(f"Triton model {self.name}: dynamic batching needs max_batch of at least 1")


@functools.cache
def protobufs() -> ModuleType:
    """Triton's generated `model_config_pb2`.

    Loaded by path: importing the package `tritonclient.grpc` also registers the inference protocol's messages, which
    clash with the ones KServe registers, and a process may need both.
    """
    package = importlib.util.find_spec("tritonclient")
    if package is None or package.submodule_search_locations is None:
        raise ImportError("tritonclient[grpc] is not installed")
    path = Path(package.submodule_search_locations[0]) / "grpc" / "model_config_pb2.py"
    spec = importlib.util.spec_from_file_location("archipelago_triton_model_config_pb2", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path}: cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def to_protobuf(model: TritonModel, device: Device) -> Any:
    """The model's `inference.ModelConfig` message on a device."""
    pb = protobufs()
    on_gpu = device == "gpu" and not model.runs_on_cpu
    kind = pb.ModelInstanceGroup.KIND_GPU if on_gpu else pb.ModelInstanceGroup.KIND_CPU
    config = pb.ModelConfig(
        name=model.name,
        backend=model.backend,
        max_batch_size=model.max_batch,
        input=[
            pb.ModelInput(name=t.name, data_type=_dtype(t), dims=t.dims, allow_ragged_batch=t.ragged)
            for t in model.inputs
        ],
        output=[pb.ModelOutput(name=t.name, data_type=_dtype(t), dims=t.dims) for t in model.outputs],
        instance_group=[pb.ModelInstanceGroup(kind=kind, count=1)],
        parameters={key: pb.ModelParameter(string_value=value) for key, value in sorted(model.parameters.items())},
    )
    if model.backend == "onnxruntime" or model.file:
        config.default_model_filename = model.file or "model.onnx"
    if on_gpu and model.gpu_batch_delay_us is not None:
        config.dynamic_batching.SetInParent()  # there, even where the delay is 0
        config.dynamic_batching.max_queue_delay_microseconds = model.gpu_batch_delay_us
    return config


def to_text(model: TritonModel, device: Device) -> str:
    """`config.pbtxt` of a model on a device."""
    return str(text_format.MessageToString(to_protobuf(model, device)))


def from_text(text: str) -> Any:
    """Parse `config.pbtxt` into an `inference.ModelConfig` message; BadInput if it does not parse."""
    try:
        return text_format.Parse(text, protobufs().ModelConfig())
    except text_format.ParseError as error:
        raise BadInput(f"not a Triton model configuration: {error}") from error


def write_configs(model: TritonModel, folder: Path, gpu: TritonModel | None = None) -> None:
    """Write `config.pbtxt` (GPU) and `configs/cpu.pbtxt` into a model's folder, which bears the model's name.

    `gpu` is the model as a GPU serves it, where that is another one than the CPU's.

    Raises:
        BadInput: the folder has another name; Triton would refuse to load it.
    """
    gpu = gpu or model
    if {model.name, gpu.name} != {folder.name}:
        raise BadInput(f"{folder}: holds the configuration of Triton model {model.name}; the names must be equal")
    (folder / "configs").mkdir(parents=True, exist_ok=True)
    (folder / "config.pbtxt").write_text(to_text(gpu, "gpu"), encoding="utf-8")
    (folder / "configs" / "cpu.pbtxt").write_text(to_text(model, "cpu"), encoding="utf-8")


def _dtype(tensor: Tensor) -> int:
    return int(getattr(protobufs(), f"TYPE_{tensor.dtype}"))
