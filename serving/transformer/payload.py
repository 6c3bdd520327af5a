"""KServe's requests and responses as arrays."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from kserve import InferInput, InferOutput, InferRequest, InferResponse
from kserve.errors import InvalidInput

from components.contracts.errors import BadInput
from serving.observe.exchange import current
from serving.transformer.validation import RawInput

# numpy's names of what goes over the wire, and V2's.
DATATYPES = {"<f4": "FP32", "<i8": "INT64", "|O": "BYTES"}


def raw_inputs(payload: Any) -> list[RawInput]:
    """A KServe request's inputs for validation.

    Raises:
        BadInput: not a V2 request, or a tensor's bytes do not decode.
    """
    if not isinstance(payload, InferRequest):
        raise BadInput("expected a V2 inference request (POST /v2/models/<model>/infer, or gRPC)")
    return [RawInput(tensor.name, tensor.datatype, tensor.shape, _values(tensor)) for tensor in payload.inputs]


def _values(tensor: InferInput) -> Sequence[Any]:
    if tensor.datatype != "BYTES":
        return ()  # refused for its datatype, whatever it holds
    if tensor.data:
        return list(tensor.data)
    try:
        return list(tensor.as_numpy().ravel())
    except Exception as error:
        raise BadInput(f"input {tensor.name}: its bytes are not a BYTES tensor of shape {tensor.shape}") from error


def respond(
    request: InferRequest, model: str, outputs: Mapping[str, np.ndarray], parameters: Mapping[str, bool | str]
) -> InferResponse:
    """A response to `request` with the outputs it asked for, all by default; it gets an id where it has none.

    Raises:
        InvalidInput: it asks for an output that does not exist.
    """
    wanted = [output.name for output in request.request_outputs or ()] or list(outputs)
    unknown = [name for name in wanted if name not in outputs]
    if unknown:
        raise InvalidInput(f"no output {unknown[0]!r} (outputs of {model}: {', '.join(outputs)})")
    tensors = []
    for name in wanted:
        values = outputs[name]
        tensor = InferOutput(name, list(values.shape), DATATYPES[values.dtype.str], values)
        if request.from_grpc:
            tensor.set_data_from_numpy(values, binary_data=True)
            tensor.parameters = None  # it notes a size that only REST needs
        tensors.append(tensor)
    return InferResponse(
        request.id or current().request_id,
        model,
        tensors,
        parameters=dict(parameters) or None,
        use_binary_outputs=request.use_binary_outputs,
        requested_outputs=request.request_outputs,
    )


def bytes_tensor(texts: Sequence[str]) -> np.ndarray:
    """A BYTES tensor (n,) of n texts."""
    return np.array([text.encode() for text in texts], dtype=object)
