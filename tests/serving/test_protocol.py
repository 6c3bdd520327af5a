"""What foreign clients find: versions, extensions, parameters, compressed bodies, and errors of one shape."""

import gzip
import json
import socket
import subprocess
import sys
import zlib
from pathlib import Path

import grpc
import httpx
import pyarrow.parquet as pq
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb

from serving.local.launcher import Service
from tests.release.tiny_release import Tiny

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def asked(tiny: Tiny) -> dict[str, list[str]]:
    """Inputs of a valid search."""
    rows = pq.read_table(tiny.search / "golden" / "search.parquet").to_pandas()
    rows = rows[rows["request"] == rows["request"].iloc[0]]
    first = rows.iloc[0]
    return {
        "market": [first["market"]],
        "user_id": [first["user_id"]],
        "query": [first["query"]],
        "item_ids": rows["item_id"].tolist(),
    }


def body(inputs: dict[str, list], **more: object) -> dict:
    tensors = [{"name": n, "datatype": "BYTES", "shape": [len(v)], "data": v} for n, v in inputs.items()]
    return {"inputs": tensors} | more


def post(service: Service, content: bytes | dict, path: str = "/v2/models/search/infer", **headers: str):
    content = content if isinstance(content, bytes) else json.dumps(content).encode()
    return httpx.post(f"{service.url}{path}", content=content, headers=headers, timeout=30)


def foreign(which: str, service: Service, requests: list[dict]) -> dict:
    program = Path(__file__).with_name("protocol_clients.py")
    addresses = [service.url.removeprefix("http://"), service.grpc_url]
    run = subprocess.run(
        [sys.executable, str(program), which, *addresses], input=json.dumps(requests), capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_tritons_clients_find_versions_extensions_and_honest_parameters(service: Service, tiny: Tiny, asked) -> None:
    version = tiny.search.name
    refused = {
        "has no version '1'": {"model_version": "1"},
        "parameter 'priority' is 2": {"priority": 2},
        "parameter 'sequence_id' is 7": {"sequence_id": 7},
        "expected microseconds": {"timeout": -1},
    }
    requests = [{"client": c, "options": {"model_version": version, "request_id": "mine"}} for c in ("http", "grpc")]
    requests += [{"client": "http", "options": {"request_compression_algorithm": how}} for how in ("gzip", "deflate")]
    requests += [{"client": c, "outputs": ["score"], "options": {"timeout": 30_000_000}} for c in ("http", "grpc")]
    requests += [{"client": c, "outputs": ["embedding"], "options": {}} for c in ("http", "grpc")]
    requests += [{"client": c, "options": options} for options in refused.values() for c in ("http", "grpc")]
    found = foreign("triton", service, [{"model": "search", "inputs": asked} | request for request in requests])
    for described in found["described"].values():
        assert described["server"]["name"] == "archipelago"
        assert described["server"]["extensions"] == ["binary_tensor_data"]
        assert described["model"]["versions"] == [version]
        assert described["ready"] is True
    assert found["described"]["http"]["metadata of another version"] == "404"
    assert found["described"]["http"]["ready of another version"] == "False"
    assert found["described"]["grpc"]["metadata of another version"] == "StatusCode.NOT_FOUND"
    assert found["described"]["grpc"]["ready of another version"] == "StatusCode.NOT_FOUND"
    answers = found["answers"]
    for answer in answers[:6]:
        assert answer["model_version"] == version
    assert [answer["id"] for answer in answers[:2]] == ["mine", "mine"]
    for answer in answers[4:6]:
        assert [output["name"] for output in answer["outputs"]] == ["score"]
    for answer, status in zip(answers[6:8], ("400", "StatusCode.INVALID_ARGUMENT"), strict=True):
        assert (answer["status"], "no output 'embedding'" in answer["message"]) == (status, True)
    for place, message in enumerate(refused):
        over_http, over_grpc = answers[8 + 2 * place : 10 + 2 * place]
        missing = message.startswith("has no version")
        assert over_http["status"] == ("404" if missing else "400")
        assert over_grpc["status"] == ("StatusCode.NOT_FOUND" if missing else "StatusCode.INVALID_ARGUMENT")
        assert message in over_http["message"]
        # KServe's protobuf has no unsigned parameter, as Triton's client sends a priority.
        assert message in over_grpc["message"] or "parameter 'priority' has no value" in over_grpc["message"]


def test_kserves_client_gets_the_same_page_over_both_protocols(service: Service, tiny: Tiny, asked) -> None:
    requests = [{"client": "http"}, {"client": "http", "binary": False}, {"client": "grpc"}]
    answers = foreign("kserve", service, [{"model": "search", "inputs": asked} | each for each in requests])["answers"]
    assert {answer["id"] for answer in answers} == {"kserve"}
    assert answers[2]["model_version"] == tiny.search.name
    pages = [{output["name"]: output["data"] for output in answer["outputs"]} for answer in answers]
    assert pages[0]["item_ids"] == pages[1]["item_ids"] == pages[2]["item_ids"]
    assert pages[0]["score"] == pytest.approx(pages[2]["score"], abs=1e-6)


def test_nothing_is_null_and_every_answer_names_its_release(service: Service, tiny: Tiny, asked) -> None:
    for content in (body(asked), body(asked, id=None, parameters=None, outputs=None)):
        answer = post(service, content)
        assert answer.status_code == 200, answer.text
        assert answer.json()["model_version"] == tiny.search.name
        assert "null" not in answer.text
    for path in ("/v2", "/v2/models", "/v2/models/search", "/v2/models/search/ready"):
        answer = httpx.get(f"{service.url}{path}")
        assert answer.is_success
        assert "null" not in answer.text


def test_a_version_in_the_path_is_the_release_or_nothing(service: Service, tiny: Tiny, asked) -> None:
    versions = "/v2/models/search/versions"
    for path in ("", "/ready"):
        served = httpx.get(f"{service.url}{versions}/{tiny.search.name}{path}")
        assert served.json() == httpx.get(f"{service.url}/v2/models/search{path}").json()
        assert httpx.get(f"{service.url}{versions}/1{path}").status_code == 404
    assert post(service, body(asked), f"{versions}/{tiny.search.name}/infer").status_code == 200
    answer = post(service, body(asked), f"{versions}/1/infer")
    assert answer.status_code == 404
    assert answer.json() == {"error": f"model search has no version '1' (served: {tiny.search.name})"}


def test_parameters_are_honoured_or_refused(service: Service, asked) -> None:
    refused = {
        "parameter 'priority' is 1": {"priority": 1},
        "parameter 'sequence_id' is 'a'": {"sequence_id": "a"},
        "parameter 'sequence_start' is True": {"sequence_start": True},
        "parameter timeout is '5', expected microseconds": {"timeout": "5"},
        "parameter timeout is True": {"timeout": True},
        "parameter timeout is -5": {"timeout": -5},
        "parameter binary_data_output is 'yes', expected true or false": {"binary_data_output": "yes"},
    }
    for message, parameters in refused.items():
        answer = post(service, body(asked, parameters=parameters))
        assert (answer.status_code, message in answer.json()["error"]) == (400, True), answer.text
    allowed = {"priority": 0, "sequence_id": 0, "sequence_end": False, "timeout": 30_000_000, "trace": {"a": [1]}}
    answer = post(service, body(asked, parameters=allowed))
    assert answer.status_code == 200, answer.text


def test_compressed_bodies_are_read_and_bombs_refused(service: Service, asked) -> None:
    content = json.dumps(body(asked)).encode()
    raw = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    good = {
        "gzip": gzip.compress(content),
        "deflate": zlib.compress(content),
        "Deflate": raw.compress(content) + raw.flush(),
        "identity": content,
    }
    for encoding, sent in good.items():
        assert post(service, sent, **{"content-encoding": encoding}).status_code == 200, encoding
    bomb = gzip.compress(b" " * (33 << 20))
    bad = {
        "more than 33554432 bytes when decompressed": ("gzip", bomb),
        "not gzip as its header": ("gzip", content),
        "ends too early": ("gzip", good["gzip"][:-9]),
        "5 bytes after the end of its gzip stream": ("gzip", good["gzip"] + b"12345"),
        "not deflate as its header": ("deflate", b"\xff" * 20),
    }
    for message, (encoding, sent) in bad.items():
        answer = post(service, sent, **{"content-encoding": encoding})
        assert (answer.status_code, message in answer.json()["error"]) == (400, True), answer.text
    answer = post(service, content, **{"content-encoding": "br"})
    assert answer.status_code == 415
    assert answer.json()["error"] == "header Content-Encoding is 'br' (read: gzip, deflate, identity)"
    assert post(service, content).status_code == 200


def test_what_cannot_be_read_says_where(service: Service, asked) -> None:
    valid = body(asked)
    market = {"name": "market", "datatype": "BYTES", "shape": [1], "data": ["TH"]}
    bad = {
        "malformed JSON: byte 12 (0xff) is not UTF-8": b'{"inputs": "\xff"}',
        "malformed JSON: depth limit exceeded: line 1 column 1026": b"[" * 100_000,
        "malformed JSON: unexpected end of data: line 1 column 2": b"{",
        "the body is [], expected an object": b"[]",
        "inputs is missing, expected a list": b"{}",
        "inputs[1] is 3, expected an object": json.dumps({"inputs": [market, 3]}).encode(),
        "input 'market': shape is missing, expected a list": b'{"inputs": [{"name": "market", "datatype": "BYTES"}]}',
        "inputs[0].name is 5, expected text": b'{"inputs": [{"name": 5}]}',
        "input 'market': data is missing": json.dumps({"inputs": [market | {"data": None}]}).encode(),
        "id: value 0 has 300 bytes": json.dumps(valid | {"id": "x" * 300}).encode(),
        "id is 7, expected text": json.dumps(valid | {"id": 7}).encode(),
        "outputs[0].name is missing": json.dumps(valid | {"outputs": [{}]}).encode(),
        "output 'score' is requested twice": json.dumps(valid | {"outputs": [{"name": "score"}] * 2}).encode(),
        "input market: datatype 'bytes', expected BYTES": json.dumps(valid).replace("BYTES", "bytes").encode(),
        "input item_ids: shape ['8'], expected [n]": json.dumps(body(asked)).replace(
            f"[{len(asked['item_ids'])}]", '["8"]'
        ).encode(),
    }  # fmt: skip
    for message, content in bad.items():
        answer = post(service, content)
        assert (answer.status_code, message in answer.json()["error"]) == (400, True), (message, answer.text)


def test_binary_bodies_end_with_their_last_tensor(service: Service, asked) -> None:
    def binary(extra: bytes = b"", size: int = 0) -> tuple[bytes, int]:
        blobs, tensors = [], []
        for name, values in asked.items():
            blobs.append(b"".join(len(v.encode()).to_bytes(4, "little") + v.encode() for v in values))
            sizes = {"binary_data_size": len(blobs[-1]) + (size if name == "item_ids" else 0)}
            tensors.append({"name": name, "datatype": "BYTES", "shape": [len(values)], "parameters": sizes})
        header = json.dumps({"inputs": tensors}).encode()
        return header + b"".join(blobs) + extra, len(header)

    def send(content: bytes, length: object):
        return post(service, content, **{"inference-header-content-length": str(length)})

    content, length = binary()
    assert send(content, length).status_code == 200
    for message, sent in {
        "the body has 3 bytes after its last tensor": binary(b"abc"),
        "input 'item_ids': 3 bytes left after value": binary(b"abc", 3),
        "announces 9999 bytes, 0 left": binary((9999).to_bytes(4, "little"), 4),
        "expected a whole number up to the body": (content, "9" * 5000),
    }.items():
        answer = send(*sent)
        assert (answer.status_code, message in answer.json()["error"]) == (400, True), answer.text


def test_every_error_has_the_same_shape(service: Service) -> None:
    errors = {
        404: [
            ("GET", "/nothing"),
            ("GET", "/v2/"),
            ("GET", "/v2/models/ranker"),
            ("POST", "/v1/models/search:predict"),
        ],
        405: [("GET", "/v2/models/search/infer"), ("DELETE", "/v2/health/live")],
        400: [("POST", "/v2/repository/models/search/unload")],
    }
    for status, requests in errors.items():
        for method, path in requests:
            answer = httpx.request(method, f"{service.url}{path}")
            assert answer.status_code == status, answer.text
            assert list(answer.json()) == ["error"]
    assert httpx.get(f"{service.url}/v2/models/search/infer").headers["allow"] == "POST"


def raw(service: Service, sent: bytes) -> tuple[bytes, dict]:
    host, port = service.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(sent)
        received = b""
        while chunk := connection.recv(1 << 16):
            received += chunk
    head, _, content = received.partition(b"\r\n\r\n")
    return head, json.loads(content)


def test_raw_sockets_get_errors_of_the_same_shape(service: Service) -> None:
    head, answer = raw(service, b"this is no HTTP\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400")
    assert answer["error"]
    start = (
        b"POST /v2/models/search/infer HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    chunk = b"100000\r\n" + b"x" * (1 << 20) + b"\r\n"
    head, answer = raw(service, start + chunk * 33 + b"0\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400")
    assert answer == {"error": "body of more than 33554432 bytes"}


def test_an_upgrade_that_is_not_served_is_ignored(service: Service, asked) -> None:
    """Java's client offers HTTP/2 with every request."""
    content = json.dumps(body(asked)).encode()
    head, answer = raw(
        service,
        b"POST /v2/models/search/infer HTTP/1.1\r\nhost: x\r\nconnection: close, Upgrade, HTTP2-Settings\r\n"
        b"upgrade: h2c\r\nhttp2-settings: AAEAAEAA\r\ncontent-length: %d\r\n\r\n%s" % (len(content), content),
    )
    assert head.startswith(b"HTTP/1.1 200"), answer


def call(service: Service, method: str, message: bytes) -> bytes:
    with grpc.insecure_channel(service.grpc_url) as channel:
        return channel.unary_unary(f"/inference.GRPCInferenceService/{method}")(message, timeout=30)


def test_raw_tensors_over_grpc_are_as_many_as_inputs(service: Service, tiny: Tiny, asked) -> None:
    def message(**changes: object) -> bytes:
        blobs = [b"".join(len(v.encode()).to_bytes(4, "little") + v.encode() for v in asked[name]) for name in asked]
        inputs = [{"name": name, "datatype": "BYTES", "shape": [len(asked[name])]} for name in asked]
        fields = {"model_name": "search", "inputs": inputs, "raw_input_contents": blobs} | changes
        return pb.ModelInferRequest(**fields).SerializeToString()

    answer = pb.ModelInferResponse.FromString(call(service, "ModelInfer", message()))
    assert answer.model_version == tiny.search.name
    typed = [
        {"name": n, "datatype": "BYTES", "shape": [len(v)], "contents": {"bytes_contents": [t.encode() for t in v]}}
        for n, v in asked.items()
    ]
    call(service, "ModelInfer", message(inputs=typed, raw_input_contents=[]))
    blobs = pb.ModelInferRequest.FromString(message()).raw_input_contents
    number = {"priority": pb.InferParameter(int64_param=1)}
    bad = {
        "5 tensors in raw_input_contents for 4 inputs": message(raw_input_contents=[*blobs, b""]),
        "3 tensors in raw_input_contents for 4 inputs": message(raw_input_contents=blobs[:3]),
        "has contents and raw_input_contents": message(inputs=typed),
        "left after value": message(raw_input_contents=[*blobs[:3], blobs[3] + b"abc"]),
        "parameter 'priority' is 1": message(parameters=number),
        "malformed message of": b"\xff\xff\xff",
        "malformed message": b"\x0a\x02\xff\xff",
        "datatype 'bytes'": message(inputs=[dict(each, datatype="bytes") for each in typed], raw_input_contents=[]),
    }
    for words, sent in bad.items():
        with pytest.raises(grpc.RpcError) as caught:
            call(service, "ModelInfer", sent)
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT, words
        assert words in caught.value.details()


def test_there_is_no_search_page_unless_it_is_asked_for(service: Service) -> None:
    for path in ("/page", "/page/", "/page/release.json"):
        assert httpx.get(f"{service.url}{path}").status_code == 404


def test_the_page_of_the_interface_needs_nothing_from_elsewhere(service: Service) -> None:
    page = httpx.get(f"{service.url}/docs")
    assert page.headers["content-type"].startswith("text/html")
    for shown in ("POST /v2/models/{model}/infer", "GET /v2/health/ready", "เคสมือถือ"):
        assert shown in page.text
    assert "http" not in page.text
    assert "src=" not in page.text
    document = httpx.get(f"{service.url}/openapi.json").json()
    assert "/v2/models/{model}/infer" in document["paths"]
    assert "422" not in json.dumps(document)
