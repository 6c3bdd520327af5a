"""Requests that fit into the largest body and are small on the wire must not take minutes or gigabytes to refuse."""

import json
import time
from collections.abc import Callable

import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb

from components.contracts.errors import BadInput
from serving.transformer.dataplane import MAX_BODY_BYTES
from serving.transformer.grpc_server import check_fields, read_message
from serving.transformer.rest_messages import read_request

# CPU seconds; the largest valid body is parsed in a tenth of it, and the slowest of these took 185 before.
SECONDS = 3.0


def refused(read: Callable[[], object]) -> str:
    began = time.process_time()
    with pytest.raises(BadInput) as caught:
        read()
    assert time.process_time() - began < SECONDS
    assert len(str(caught.value)) < 300
    return str(caught.value)


TENSOR = {"name": "market", "datatype": "BYTES", "shape": [1], "data": ["TH"]}
BODIES = {
    "commas and opening brackets, at most": b"[]," * (MAX_BODY_BYTES // 3),
    "commas and opening brackets, at most 2560000": b'"",' * (MAX_BODY_BYTES // 3),
    "malformed JSON": b'"\\"' * (MAX_BODY_BYTES // 3),
    "100000 inputs, at most 16": json.dumps({"inputs": [TENSOR] * 100_000}).encode(),
    "100000 outputs, at most 16": json.dumps({"inputs": [TENSOR], "outputs": [{"name": "score"}] * 100_000}).encode(),
    "100000 parameters, at most 64": json.dumps(
        {"inputs": [TENSOR], "parameters": {str(number): 0 for number in range(100_000)}}
    ).encode(),
    "id: value 0 has": json.dumps({"inputs": [TENSOR], "id": "x" * (30 << 20)}).encode(),
    "id is [": json.dumps({"inputs": [TENSOR], "id": [1] * 1_000_000}).encode(),
}


@pytest.mark.parametrize("message", BODIES)
def test_bodies(message: str) -> None:
    assert message in refused(lambda: read_request(BODIES[message], None, "search"))


def test_a_binary_tensor_of_empty_values() -> None:
    size = 31 << 20
    tensor = TENSOR | {"parameters": {"binary_data_size": size}}
    header = json.dumps({"inputs": [{name: value for name, value in tensor.items() if name != "data"}]}).encode()
    said = refused(lambda: read_request(header + bytes(size), str(len(header)), "search"))
    assert said == "input 'market': more than 1000 values"


def test_a_text_of_marks_is_no_attack() -> None:
    titles = ["," * 2048] * 1000
    tensors = [TENSOR | {"name": "title", "shape": [1000], "data": titles}]
    assert read_request(json.dumps({"inputs": tensors}).encode(), None, "relevance").inputs[0].values == titles


FIELDS = {field.name: field.number for field in pb.ModelInferRequest.DESCRIPTOR.fields}


@pytest.mark.parametrize("name", ["inputs", "outputs", "raw_input_contents", "parameters"])
def test_messages_of_empty_fields_are_not_decoded(name: str) -> None:
    message = bytes([FIELDS[name] << 3 | 2, 0]) * (MAX_BODY_BYTES // 2)
    assert "1025 fields of the message or more, at most 1024" in refused(lambda: check_fields(message))


def test_messages_that_are_decoded_are_counted_before_they_are_read() -> None:
    tensor = {"name": "market", "datatype": "BYTES", "shape": [1]}
    numbers = {str(number): pb.InferParameter(int64_param=0) for number in range(100_000)}
    for message, fields in {
        "17 inputs, at most 16": {"inputs": [tensor] * 17},
        "17 outputs, at most 16": {"outputs": [{"name": "score"}] * 17},
        "1000000 dimensions of input 'market', at most 1": {"inputs": [tensor | {"shape": [1] * 1_000_000}]},
        "1000000 values of input 'market', at most 1000": {
            "inputs": [tensor | {"contents": {"bytes_contents": [b""] * 1_000_000}}]
        },
        "100000 parameters of input 'market', at most 64": {"inputs": [tensor | {"parameters": numbers}]},
    }.items():
        request = pb.ModelInferRequest(model_name="search", **fields)
        check_fields(request.SerializeToString())
        assert message in refused(lambda request=request: read_message(request))


@pytest.mark.parametrize("message", [b"\xff" * 30, b"\x0a\xff\xff\xff\xff\x0f", b"\x0b", b"\x08", b"\x0d\x01", b""])
def test_what_is_no_message_is_left_to_the_decoder(message: bytes) -> None:
    check_fields(message)
