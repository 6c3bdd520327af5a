"""The page `/docs`: the paths of the service and what goes into them, from its OpenAPI document, without any script."""

from collections.abc import Mapping
from html import escape
from typing import Any

_TENSOR = {
    "type": "object",
    "required": ["name", "datatype", "shape"],
    "properties": {
        "name": {"type": "string"},
        "datatype": {"type": "string", "enum": ["BYTES", "FP32", "INT64"]},
        "shape": {"type": "array", "items": {"type": "integer"}},
        "parameters": {"type": "object"},
        "data": {"type": "array"},
    },
}
_REQUEST = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": {"type": "string", "description": "at most 256 bytes; the answer has it, too"},
        "inputs": {"type": "array", "items": _TENSOR},
        "outputs": {"type": "array", "items": {"type": "object", "required": ["name"]}},
        "parameters": {
            "type": "object",
            "properties": {
                "timeout": {"type": "integer", "description": "how long the caller waits, microseconds"},
                "binary_data_output": {"type": "boolean"},
            },
        },
    },
    "example": {
        "inputs": [
            {"name": "market", "datatype": "BYTES", "shape": [1], "data": ["TH"]},
            {"name": "user_id", "datatype": "BYTES", "shape": [1], "data": ["TH-user-3"]},
            {"name": "query", "datatype": "BYTES", "shape": [1], "data": ["เคสมือถือ"]},
            {"name": "item_ids", "datatype": "BYTES", "shape": [2], "data": ["TH-12", "TH-0"]},
        ]
    },
}
_ANSWER = {
    "type": "object",
    "properties": {
        "model_name": {"type": "string"},
        "model_version": {"type": "string", "description": "the release's digest"},
        "id": {"type": "string"},
        "parameters": {"type": "object"},
        "outputs": {"type": "array", "items": _TENSOR},
    },
}
_ERROR = {"type": "object", "properties": {"error": {"type": "string"}}}
# Of every path.
ERRORS: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "no result: 400 malformed (the message says what and where), 404 no such model or version, "
        "503 not now",
        "content": {"application/json": {"schema": _ERROR}},
    }
}
# Of an inference path, for FastAPI, which sees a bare body there.
INFERENCE: dict[str, Any] = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": _REQUEST}}},
    "responses": {"200": {"description": "the outputs", "content": {"application/json": {"schema": _ANSWER}}}},
}
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem}"
    "td{padding:.2rem 1rem .2rem 0;vertical-align:top}code,pre{background:#f2f4f7;overflow-wrap:anywhere}"
    "pre{padding:1rem;overflow-x:auto}"
)


def api_page(document: Mapping[str, Any]) -> str:
    """HTML of an OpenAPI document's paths, with an example."""
    rows = "".join(
        f"<tr><td><code>{escape(method.upper())} {escape(path)}</code><td>{escape(operation.get('summary', ''))}"
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    )
    example = (
        'curl "$HTTP/v2/models/search/infer" --data \'{"inputs": [\n'
        + ",\n".join(
            f'  {{"name": "{each["name"]}", "datatype": "BYTES", "shape": [{len(each["data"])}], "data": '
            + "["
            + ", ".join(f'"{value}"' for value in each["data"])
            + "]}"
            for each in _REQUEST["example"]["inputs"]  # type: ignore[index]
        )
        + "]}'"
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(document["info"]["title"])}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>'
        f"<h1>{escape(document['info']['title'])}</h1>"
        "<p>KServe's V2 protocol (Open Inference Protocol). The same as a document: "
        '<a href="openapi.json">openapi.json</a>. A path with <code>/versions/{version}</code> after the model answers '
        "for that release alone.</p>"
        f"<table>{rows}</table><h2>Example</h2><pre>{escape(example)}</pre></html>"
    )
