"""PyTorch modules to ONNX, each compared with its module before it may enter a release."""

import inspect
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from components.contracts.errors import ArchipelagoError
from components.release.blobs import LARGE_BYTES

EXPORTERS = ("torch", "onnx", "onnxscript", "onnxruntime")


class ParityError(ArchipelagoError):
    """An exported model answers differently from the module it was exported from."""


@dataclass(frozen=True)
class Signature:
    """How a module is called.

    Attributes:
        inputs: input names, in `forward`'s order.
        outputs: output names, in the order returned; none may be called "embedding" (the exporter's own name).
        dynamic: for each input, the axes whose size varies.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    dynamic: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Parity:
    """Largest error of an exported model over its test cases: |difference| / max(1, largest |output|)."""

    model: str
    cases: int
    max_error: float
    tolerance: float

    def as_dict(self) -> dict[str, Any]:
        """JSON form for the manifest."""
        return asdict(self)


def export_onnx(module: nn.Module, example: Sequence[Tensor], signature: Signature, target: Path) -> None:
    """Export an evaluation-mode module to `target` (`model.onnx`, with `model.onnx.data` beside it if large).

    Notes about the exporting machine's source files are removed, so that equal models have equal bytes.
    """
    for talkative in ("torch.onnx", "onnx_ir", "onnxscript"):
        logging.getLogger(talkative).setLevel(logging.ERROR)
    shapes = tuple(dict.fromkeys(axes, torch.export.Dim.DYNAMIC) for axes in signature.dynamic)
    parameters = inspect.signature(module.forward).parameters.values()
    takes_any_number = any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters)
    program = torch.onnx.export(
        module.eval(),
        tuple(example),
        dynamo=True,
        verbose=False,
        input_names=list(signature.inputs),
        output_names=list(signature.outputs),
        dynamic_shapes=(shapes,) if takes_any_number else shapes,
    )
    assert program is not None
    for graph in (program.model.graph, *(function.graph for function in program.model.functions.values())):
        graph.metadata_props.clear()
        for node in graph.all_nodes():
            node.metadata_props.clear()
            node.doc_string = None
    size = sum(tensor.numel() * tensor.element_size() for tensor in module.state_dict().values())
    target.parent.mkdir(parents=True, exist_ok=True)
    program.save(str(target), external_data=size > LARGE_BYTES)


def open_session(path: Path, threads: int = 0) -> onnxruntime.InferenceSession:
    """An ONNX Runtime session on the CPU; `threads` 0 leaves their number to the runtime."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def check_parity(
    name: str, module: nn.Module, path: Path, cases: Sequence[Sequence[Tensor]], tolerance: float
) -> Parity:
    """Compare an exported model with its module on every case.

    Integer outputs must be equal; a difference counts as an infinite error.

    Raises:
        ParityError: the error exceeds `tolerance`.
    """
    session = open_session(path)
    inputs = [tensor.name for tensor in session.get_inputs()]
    worst = 0.0
    for case in cases:
        with torch.inference_mode():
            expected = module.eval()(*case)
        expected = (expected,) if isinstance(expected, Tensor) else expected
        found = session.run(None, dict(zip(inputs, (tensor.numpy() for tensor in case), strict=True)))
        worst = max(worst, *(_error(e.numpy(), f) for e, f in zip(expected, found, strict=True)))
    if not worst <= tolerance:
        raise ParityError(f"{name}: ONNX differs from PyTorch by {worst:.3g}, tolerance {tolerance:.3g}")
    return Parity(name, len(cases), worst, tolerance)


def _error(expected: np.ndarray, found: np.ndarray) -> float:
    if expected.shape != found.shape or not np.isfinite(found).all():
        return float("inf")
    if not np.issubdtype(expected.dtype, np.floating):
        return 0.0 if np.array_equal(expected, found) else float("inf")
    return float(np.abs(expected - found).max(initial=0.0) / max(1.0, np.abs(expected).max(initial=0.0)))
