"""What a client says of its data is honoured or refused, never guessed; null says nothing."""

import json
from typing import Any

import pytest

from components.contracts.errors import BadInput
from serving.transformer.rest_messages import read_request


def body(parameters: Any, request: Any = None, output: Any = None) -> bytes:
    tensor = {"name": "query", "shape": [1], "datatype": "BYTES", "parameters": parameters, "data": ["tas"]}
    outputs = [{"name": "score", "parameters": output}]
    return json.dumps({"id": None, "parameters": request, "outputs": outputs, "inputs": [tensor]}).encode()


@pytest.mark.parametrize(
    "parameters", [None, {}, {"content_type": None, "headers": None}, {"content_type": "str"}, {"content_type": ""}]
)
def test_text_is_text_and_null_is_absent(parameters: Any) -> None:
    asked = read_request(body(parameters, parameters, parameters), None, "search")
    assert list(asked.inputs[0].values) == ["tas"]
    assert asked.id == ""


@pytest.mark.parametrize("content_type", ["base64", "np", "pd", "STR", 1, ["str"]])
def test_another_content_type_is_refused_wherever_it_is_named(content_type: Any) -> None:
    named = {"content_type": content_type}
    for places in ((named,), (None, named), (None, None, named)):
        with pytest.raises(BadInput, match=r"parameter content_type is .*, expected str \(UTF-8 text\)"):
            read_request(body(*places), None, "search")
