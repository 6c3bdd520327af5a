"""V2 messages over REST: JSON, or a JSON header and the tensors' bytes end to end (the binary extension).

KServe's own reader turns values into what they are not (shape `["8"]`, datatype `bytes`), turns every BYTES tensor into
text and fails on the first that is none, without saying which; this one keeps what came, so that validation names the
input and the place.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from kserve import InferResponse

from components.contracts.errors import BadInput
from components.contracts.text import MAX_QUERY_CHARS, MAX_TITLE_CHARS
from serving.transformer.payload import V2Request, bytes_values, raw_bytes, refuse_other_encodings, v2_request
from serving.transformer.validation import MAX_ITEMS, MAX_TENSORS, RawInput, check_count, shorten

HEADER_LENGTH = "Inference-Header-Content-Length"
# Empty lists and objects take 25 times their text once parsed. A valid request has fewer marks than its texts may have
# characters, as they may consist of marks.
MAX_MARKS = MAX_ITEMS * (MAX_QUERY_CHARS + MAX_TITLE_CHARS)


def read_request(body: bytes, header_length: str | None, model: str) -> V2Request:
    """Parse a body whose header `Inference-Header-Content-Length` says `header_length`; without it, all is JSON.

    Raises:
        BadInput: the body cannot be read; says where.
    """
    start = len(body) if header_length is None else _header_length(header_length, len(body))
    header = _object(_json(body[:start]), "the body")
    found = _list(header.get("inputs"), "inputs")
    check_count(len(found), MAX_TENSORS, "inputs")
    inputs = []
    for place, each in enumerate(found):
        where = f"inputs[{place}]"
        described = _object(each, where)
        name = _text(described.get("name"), f"{where}.name")
        where = f"input {shorten(name)}"
        parameters = _parameters(described.get("parameters"), where)
        refuse_other_encodings(parameters, where)
        datatype = _text(described.get("datatype"), f"{where}: datatype")
        shape = _list(described.get("shape"), f"{where}: shape")
        size = parameters.get("binary_data_size")
        data = described.get("data")
        values: Sequence[object]
        if size is None:
            values = _list(data, f"{where}: data")
        elif data is not None:
            raise BadInput(f"{where}: has data and binary_data_size, expected one of them")
        elif not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise BadInput(f"{where}: binary_data_size is {shorten(size)}, expected a whole number from 0")
        elif len(body) - start < size:
            raise BadInput(f"{where}: {len(body) - start} bytes left of the {size} it announces")
        else:
            # Of another datatype it is refused, whatever it holds.
            values = bytes_values(body[start : start + size], where) if datatype == "BYTES" else []
            start += size
        inputs.append(RawInput(name, datatype, shape, values))
    if start != len(body):
        raise BadInput(f"the body has {len(body) - start} bytes after its last tensor")
    found = [] if header.get("outputs") is None else _list(header["outputs"], "outputs")
    check_count(len(found), MAX_TENSORS, "outputs")
    outputs = []
    for place, each in enumerate(found):
        where = f"outputs[{place}]"
        described = _object(each, where)
        name = _text(described.get("name"), f"{where}.name")
        outputs.append((name, _parameters(described.get("parameters"), where)))
    return v2_request(model, header.get("id"), inputs, outputs, _parameters(header.get("parameters"), "the request"))


def write_response(request: V2Request, response: InferResponse) -> tuple[bytes, int | None]:
    """The body that answers `request`, and its JSON header's length where bytes follow it."""
    outputs, blobs = [], []
    for output in response.outputs:
        written: dict[str, Any] = {"name": output.name, "datatype": output.datatype, "shape": output.shape}
        if request.outputs.get(output.name, request.binary):
            blobs.append(raw_bytes(output.data))
            written["parameters"] = {"binary_data_size": len(blobs[-1])}
        else:
            values = output.data.ravel().tolist()
            written["data"] = [value.decode() if isinstance(value, bytes) else value for value in values]
        outputs.append(written)
    header = {"model_name": response.model_name, "model_version": response.model_version, "id": response.id}
    if response.parameters:
        header["parameters"] = response.parameters
    body = orjson.dumps(header | {"outputs": outputs})
    return b"".join([body, *blobs]), len(body) if blobs else None


def _header_length(text: str, body: int) -> int:
    # A dozen digits hold any length, and int() refuses thousands.
    if not re.fullmatch(r"[0-9]{1,12}", text) or int(text) > body:
        raise BadInput(
            f"header {HEADER_LENGTH} is {shorten(text)}, expected a whole number up to the body's {body} bytes"
        )
    return int(text)


def _json(text: bytes) -> object:
    check_count(sum(text.count(mark) for mark in (b"[", b"{", b",")), MAX_MARKS, "commas and opening brackets")
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        try:
            text.decode()
        except UnicodeDecodeError as undecodable:
            place = undecodable.start
            raise BadInput(f"malformed JSON: byte {place} (0x{text[place]:02x}) is not UTF-8") from error
        raise BadInput(f"malformed JSON: {error}") from error


def _object(value: object, where: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise BadInput(f"malformed request: {where} is {_kind(value)}, expected an object")
    return value


def _list(value: object, where: str) -> list[object]:
    if not isinstance(value, list):
        raise BadInput(f"malformed request: {where} is {_kind(value)}, expected a list")
    return value


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise BadInput(f"malformed request: {where} is {_kind(value)}, expected text")
    return value


def _parameters(value: object, where: str) -> Mapping[str, object]:
    return {} if value is None else _object(value, f"{where}: parameters")


def _kind(value: object) -> str:
    return "missing" if value is None else shorten(value)
