"""KServe V2's binary extension over REST: a JSON header, then the tensors' bytes end to end.

KServe's own reader turns every BYTES tensor into text and fails on the first that is none, without saying which; this
one keeps bytes, so that validation names the input and the place.
"""

import json
from typing import Any

from kserve import InferInput, InferRequest
from kserve.errors import InvalidInput
from kserve.protocol.infer_type import RequestedOutput, deserialize_bytes_tensor


def read_binary_request(body: bytes, header_length: str | None, model: str) -> InferRequest:
    """Parse a body whose header `Inference-Header-Content-Length` says `header_length`; without it, all is JSON.

    Raises:
        InvalidInput: the header or a tensor's bytes cannot be read; says which.
    """
    header_length = str(len(body)) if header_length is None else header_length
    if not header_length.isdecimal() or int(header_length) > len(body):
        raise InvalidInput(
            f"binary request of {len(body)} bytes: header Inference-Header-Content-Length is {header_length!r}"
        )
    start = int(header_length)
    try:
        header = json.loads(body[:start])
        tensors = []
        for described in header["inputs"]:
            parameters = described.get("parameters") or {}
            size = parameters.get("binary_data_size")
            data = described.get("data") if size is None else _values(described, body[start : start + size], size)
            tensors.append(
                InferInput(described["name"], described["shape"], described["datatype"], data or [], parameters)
            )
            start += size or 0
        outputs = [RequestedOutput(each["name"], each.get("parameters")) for each in header.get("outputs") or ()]
        return InferRequest(
            model, tensors, header.get("id"), parameters=header.get("parameters"), request_outputs=outputs or None
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(f"malformed request: its JSON header cannot be read ({type(error).__name__})") from error


def _values(described: dict[str, Any], data: bytes, size: int) -> list[bytes]:
    name = described["name"]
    if len(data) != size:
        raise InvalidInput(f"input {name!r}: {len(data)} bytes left of the {size} it announces")
    if described["datatype"] != "BYTES":
        return []  # refused for its datatype, whatever it holds
    try:
        return list(deserialize_bytes_tensor(data))
    except Exception as error:
        raise InvalidInput(f"input {name!r}: its {size} bytes are not a BYTES tensor") from error
