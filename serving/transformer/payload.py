"""Requests and responses of either protocol as arrays."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from kserve import InferOutput, InferResponse

from components.contracts.errors import BadInput
from components.contracts.moments import parse_moment
from serving.observe.exchange import current
from serving.transformer.validation import MAX_ITEMS, MAX_PARAMETERS, RawInput, check_count, check_request_id, shorten

# numpy's names of what goes over the wire, and V2's.
DATATYPES = {"<f4": "FP32", "<i8": "INT64", "|O": "BYTES"}
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True)
class V2Request:
    """An inference request as either protocol carries it.

    Attributes:
        model: its name.
        inputs: tensors, not validated yet.
        id: the caller's, empty where it gave none.
        outputs: names of the requested outputs, and whether each is wanted as bytes after a JSON header; empty: all.
        binary: whether an output of which nothing is said is wanted as bytes.
        parameters: those that models honour: `timeout`, microseconds that the caller waits, absent without a limit;
            `request_time`, the instant that ages of features are counted to, absent where it is now.
    """

    model: str
    id: str
    inputs: Sequence[RawInput]
    outputs: Mapping[str, bool]
    binary: bool
    parameters: Mapping[str, int | datetime]


def v2_request(
    model: str,
    request_id: object,
    inputs: Sequence[RawInput],
    outputs: Sequence[tuple[str, Mapping[str, object]]],
    parameters: Mapping[str, object],
) -> V2Request:
    """A request from what a protocol's reader found; a parameter that is None is absent.

    Parameters that published extensions of V2 define are honoured or refused; any other is left unread, as the
    protocol leaves it to those who defined it.

    Raises:
        BadInput: its id, an output or a parameter is not what it must be.
    """
    check_count(len(parameters), MAX_PARAMETERS, "parameters")
    for name, value in parameters.items():
        # 0, "" and false are how clients spell that they want none.
        if (name == "priority" or name.startswith("sequence_")) and value not in (None, 0, "", False):
            raise BadInput(
                f"parameter {shorten(name)} is {shorten(value)}: this service has no priorities or sequences"
            )
    timeout = parameters.get("timeout")
    if timeout is not None and (not isinstance(timeout, int) or isinstance(timeout, bool) or timeout < 0):
        raise BadInput(f"parameter timeout is {shorten(timeout)}, expected microseconds as a whole number from 0")
    refuse_other_encodings(parameters, "the request")
    default = _flag(parameters, "binary_data_output", "the request")
    wanted: dict[str, bool] = {}
    for name, own in outputs:
        where = f"output {shorten(name)}"
        if name in wanted:
            raise BadInput(f"{where} is requested twice")
        if own.get("classification") not in (None, 0):
            raise BadInput(f"{where}: parameter classification is not served")
        refuse_other_encodings(own, where)
        wanted[name] = _flag(own, "binary_data", where, default)
    honoured: dict[str, int | datetime] = {"timeout": timeout} if timeout else {}
    moment = parameters.get("request_time")
    if moment not in (None, ""):
        if not isinstance(moment, str):
            raise BadInput(f"parameter request_time is {shorten(moment)}, expected an ISO 8601 instant")
        honoured["request_time"] = parse_moment(moment, "parameter request_time")
    return V2Request(model, check_request_id(request_id), inputs, wanted, default, honoured)


def refuse_other_encodings(parameters: Mapping[str, object], where: str) -> None:
    """Raises BadInput where data is said to lie in shared memory, or to be encoded, which is never guessed."""
    if parameters.get("shared_memory_region") is not None:
        raise BadInput(f"{where}: shared memory is not served")
    content_type = parameters.get("content_type")
    if content_type not in (None, "", "str"):
        raise BadInput(f"{where}: parameter content_type is {shorten(content_type)}, expected str (UTF-8 text)")


def bytes_values(data: bytes, where: str) -> list[bytes]:
    """Values of a BYTES tensor: each has its length before it, four bytes, little-endian.

    Raises:
        BadInput: the lengths do not add up.
    """
    values: list[bytes] = []
    start = 0
    while start < len(data):
        if len(values) > MAX_ITEMS:
            raise BadInput(f"{where}: more than {MAX_ITEMS} values")
        if len(data) - start < _LENGTH.size:
            raise BadInput(
                f"{where}: {len(data) - start} bytes left after value {len(values) - 1}, too few for a length"
            )
        (length,) = _LENGTH.unpack_from(data, start)
        start += _LENGTH.size
        if length > len(data) - start:
            raise BadInput(f"{where}: value {len(values)} announces {length} bytes, {len(data) - start} left")
        values.append(data[start : start + length])
        start += length
    return values


def raw_bytes(values: np.ndarray) -> bytes:
    """A tensor's bytes as V2 sends them; the opposite of `bytes_values` for texts."""
    if values.dtype != object:
        return values.tobytes()
    texts = (value if isinstance(value, bytes) else str(value).encode() for value in values.ravel())
    return b"".join(_LENGTH.pack(len(text)) + text for text in texts)


def raw_inputs(payload: Any) -> Sequence[RawInput]:
    """A request's inputs for validation."""
    return payload.inputs if isinstance(payload, V2Request) else ()


def respond(
    request: V2Request, model: str, outputs: Mapping[str, np.ndarray], parameters: Mapping[str, bool | str]
) -> InferResponse:
    """A response to `request` with the outputs it asked for, all by default; it gets an id where it has none."""
    tensors = [
        InferOutput(name, list(outputs[name].shape), DATATYPES[outputs[name].dtype.str], outputs[name])
        for name in request.outputs or outputs
    ]
    return InferResponse(request.id or current().request_id, model, tensors, parameters=dict(parameters) or None)


def bytes_tensor(texts: Sequence[str]) -> np.ndarray:
    """A BYTES tensor (n,) of n texts."""
    return np.array([text.encode() for text in texts], dtype=object)


def _flag(parameters: Mapping[str, object], name: str, where: str, default: bool = False) -> bool:
    value = parameters.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise BadInput(f"{where}: parameter {name} is {shorten(value)}, expected true or false")
    return value
