"""Whatever comes over the wire is a request or a printable refusal, in both protocols."""

import json
from collections.abc import Callable

from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb

from components.contracts.errors import BadInput
from serving.transformer.grpc_server import check_fields, read_message
from serving.transformer.payload import V2Request, raw_inputs
from serving.transformer.rest_messages import read_request
from serving.transformer.validation import relevance_request, search_request

TEXT = st.text(max_size=6) | st.sampled_from(["TH", "market", "query", "\0", "\u200b", "x" * 300])
SCALAR = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | TEXT
ANYTHING = st.recursive(
    SCALAR, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=5
)
NAMES = st.sampled_from(["market", "user_id", "query", "item_ids", "title", ""])
PARAMETERS = st.dictionaries(
    st.sampled_from(
        [
            "timeout",
            "priority",
            "sequence_id",
            "binary_data_size",
            "binary_data",
            "classification",
            "shared_memory_region",
        ]
    ),
    SCALAR,
    max_size=2,
)
TENSORS = st.fixed_dictionaries(
    {
        "name": NAMES | ANYTHING,
        "datatype": st.sampled_from(["BYTES", "bytes", "FP32"]) | ANYTHING,
        "shape": st.lists(st.integers(-1, 3), max_size=2) | ANYTHING,
    },
    optional={"data": st.lists(TEXT, max_size=3) | ANYTHING, "parameters": PARAMETERS | ANYTHING},
)
BODIES = st.fixed_dictionaries(
    {"inputs": st.lists(TENSORS, max_size=5) | ANYTHING},
    optional={"id": TEXT | ANYTHING, "parameters": PARAMETERS | ANYTHING, "outputs": st.lists(ANYTHING, max_size=2)},
)


def is_request_or_refused(read: Callable[[], V2Request]) -> None:
    try:
        inputs = raw_inputs(read())
    except BadInput as error:
        assert str(error).isprintable()
        str(error).encode()
        return
    for check in (search_request, relevance_request):
        try:
            check(inputs, ("TH",))
        except BadInput as error:
            str(error).encode()


@settings(max_examples=400, deadline=None)
@given(BODIES | ANYTHING, st.binary(max_size=12), st.none() | st.integers(0, 400).map(str) | TEXT, st.integers(0, 400))
def test_bodies(body: object, bytes_after: bytes, header_length: str | None, place: int) -> None:
    whole = json.dumps(body).encode()
    is_request_or_refused(lambda: read_request(whole, None, "search"))
    is_request_or_refused(lambda: read_request(whole + bytes_after, str(len(whole)), "search"))
    is_request_or_refused(lambda: read_request(whole[:place] + bytes_after + whole[place:], header_length, "search"))


VALUES = (
    st.booleans().map(lambda value: pb.InferParameter(bool_param=value))
    | st.integers(-(2**63), 2**63 - 1).map(lambda value: pb.InferParameter(int64_param=value))
    | st.just(pb.InferParameter())
)
NUMBERS = st.dictionaries(st.sampled_from(["timeout", "priority", "sequence_id", "other"]), VALUES, max_size=2)
RAW = st.binary(max_size=8)
MESSAGES = st.fixed_dictionaries(
    {
        "inputs": st.lists(
            st.fixed_dictionaries(
                {
                    "name": NAMES,
                    "datatype": st.sampled_from(["BYTES", "bytes", "FP32", ""]),
                    "shape": st.lists(st.integers(-(2**63), 2**63 - 1), max_size=2),
                },
                optional={
                    "contents": st.fixed_dictionaries({"bytes_contents": st.lists(RAW, max_size=2)}),
                    "parameters": NUMBERS,
                },
            ),
            max_size=4,
        )
    },
    optional={"raw_input_contents": st.lists(RAW, max_size=4), "parameters": NUMBERS},
)


@settings(max_examples=400, deadline=None)
@given(MESSAGES, RAW, st.integers(0, 200))
def test_messages(fields: dict, extra: bytes, place: int) -> None:
    request = pb.ModelInferRequest(**fields)
    is_request_or_refused(lambda: read_message(request))
    whole = request.SerializeToString()
    damaged = whole[:place] + extra + whole[place:]
    check_fields(damaged)
    try:
        decoded = pb.ModelInferRequest.FromString(damaged)
    except DecodeError:
        return
    is_request_or_refused(lambda: read_message(decoded))
