"""One address for two releases that are served side by side on this machine: each user is served by one of them.

Choices (ours):

- A search goes to the release of its user; one that names a version, to that release; events, to their users' releases.
  All else is the predecessor's: a request for relevance names no user.
- Requests and answers pass as they are; which release answered stands in `model_version`.
- Ready means that every release is that has users.
"""

import argparse
import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]
import httpx
import orjson
import uvicorn
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from components.contracts.errors import BadInput
from components.contracts.tools import log
from serving.local.processes import LOOPBACK
from serving.local.traffic import is_canarys, read_percent
from serving.observe.boundary import EVENTS_PATH
from serving.transformer.body import read_body
from serving.transformer.dataplane import MAX_BODY_BYTES
from serving.transformer.errors import ServiceError, Unavailable, answer
from serving.transformer.grpc_server import check_fields, read_message
from serving.transformer.payload import V2Request
from serving.transformer.rest_messages import HEADER_LENGTH, read_request
from serving.transformer.server import GRACE_S

_MODEL = re.compile(r"/v2/models/(?P<model>[^/]+)(/versions/(?P<version>[^/]+))?(?P<infer>/infer)?")
_INFER = "/inference.GRPCInferenceService/ModelInfer"
# Of one connection, not of a request; the body that is passed on is no longer compressed.
_NOT_PASSED = ("connection", "content-encoding", "content-length", "expect", "keep-alive", "transfer-encoding")


@dataclass(frozen=True)
class Side:
    """A release's own service: its name, REST client and gRPC channel."""

    release: str
    http: httpx.AsyncClient
    channel: grpc.aio.Channel

    @classmethod
    def at(cls, described: str) -> "Side":
        """From ``release:http port:grpc port``."""
        release, http, port = described.split(":")
        options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
        channel = grpc.aio.insecure_channel(f"{LOOPBACK}:{port}", options)
        return cls(release, httpx.AsyncClient(base_url=f"http://{LOOPBACK}:{http}", timeout=None), channel)  # noqa: S113


class Front:
    """Passes requests on.

    Args:
        state: folder of the share of users (`traffic`).
        predecessor, canary: the two sides.
    """

    def __init__(self, state: Path, predecessor: Side, canary: Side) -> None:
        self._state = state
        self._predecessor = predecessor
        self._canary = canary

    def of_user(self, user_id: str) -> Side:
        """Who serves a user."""
        return self._canary if is_canarys(user_id, read_percent(self._state)) else self._predecessor

    def of_request(self, request: V2Request, version: str | None) -> Side:
        """Who answers an inference request."""
        if version:
            return self._of_version(version)
        users = [tensor.values for tensor in request.inputs if tensor.name == "user_id"]
        if request.model != "search" or not users or not users[0]:
            return self._predecessor
        user = users[0][0]
        return self.of_user(user.decode(errors="replace") if isinstance(user, bytes) else str(user))

    def _of_version(self, version: str) -> Side:
        return self._canary if version == self._canary.release else self._predecessor

    async def rest(self, request: Request) -> Response:
        """Any REST request."""
        try:
            body = await read_body(request)
            if request.url.path == EVENTS_PATH:
                return await self._events(request, body)
            if request.url.path == "/v2/health/ready":
                sides = {self._predecessor, *([self._canary] if read_percent(self._state) else [])}
                answers = [await self._pass(side, request, body) for side in sides]
                return max(answers, key=lambda each: each.status_code)
            return await self._pass(self._of_rest(request, body), request, body)
        except (ServiceError, BadInput) as error:
            told = answer(error, request.url.path)
            return JSONResponse({"error": str(told)}, told.http_status, told.http_headers)

    def _of_rest(self, request: Request, body: bytes) -> Side:
        asked = _MODEL.fullmatch(request.url.path)
        if not asked:
            return self._predecessor
        if not asked["infer"]:
            return self._of_version(asked["version"])
        try:
            read = read_request(body, request.headers.get(HEADER_LENGTH), asked["model"])
        except BadInput:
            return self._predecessor  # who refuses it, with all that is to be said
        return self.of_request(read, asked["version"])

    async def _events(self, request: Request, body: bytes) -> Response:
        try:
            events = orjson.loads(body)["events"]
            of_side: dict[Side, list[Any]] = {}
            for event in events:
                of_side.setdefault(self.of_user(event["user_id"]), []).append(event)
        except (ValueError, KeyError, TypeError, AttributeError):
            of_side = {}
        if len(of_side) < 2:
            return await self._pass(next(iter(of_side), self._predecessor), request, body)
        answers = [await self._pass(side, request, orjson.dumps({"events": e})) for side, e in of_side.items()]
        refused = [each for each in answers if each.status_code >= 400]
        return refused[0] if refused else JSONResponse({"accepted": len(events)})

    async def _pass(self, side: Side, request: Request, body: bytes) -> Response:
        headers = [(name, value) for name, value in request.headers.items() if name not in _NOT_PASSED]
        target = httpx.URL(path=request.url.path, query=request.url.query.encode())
        try:
            got = await side.http.request(request.method, target, headers=headers, content=body)
        except httpx.TransportError as error:
            raise Unavailable(f"release {side.release} does not answer ({type(error).__name__})") from error
        kept = {name: value for name, value in got.headers.items() if name not in _NOT_PASSED}
        return Response(got.content, got.status_code, kept)

    def of_call(self, method: str, message: bytes) -> Side:
        """Who answers a gRPC call."""
        if method != _INFER:
            return self._predecessor
        try:
            check_fields(message)
            asked = pb.ModelInferRequest.FromString(message)
            return self.of_request(read_message(asked), asked.model_version)
        except (DecodeError, BadInput):
            return self._predecessor


class Calls(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Passes gRPC calls on, message by message, unread but for their user."""

    def __init__(self, front: Front) -> None:
        self._front = front

    def service(self, handler_call_details: Any) -> Any:
        """The handler of any method."""
        method = handler_call_details.method

        async def forward(message: bytes, context: Any) -> Any:
            call = self._front.of_call(method, message).channel.unary_unary(method)
            try:
                return await call(message, timeout=context.time_remaining())
            except grpc.aio.AioRpcError as error:
                return await context.abort(error.code(), error.details())

        return grpc.unary_unary_rpc_method_handler(forward)


async def serve(front: Front, http_port: int, grpc_port: int) -> None:
    """Listen until SIGTERM, then answer what has been asked."""
    calls = grpc.aio.server(options=[("grpc.max_receive_message_length", MAX_BODY_BYTES)])
    calls.add_generic_rpc_handlers((Calls(front),))
    calls.add_insecure_port(f"{LOOPBACK}:{grpc_port}")
    await calls.start()
    methods = ["GET", "POST", "PUT", "DELETE", "OPTIONS"]
    app = Starlette(routes=[Route("/{path:path}", front.rest, methods=methods)])
    config = uvicorn.Config(
        app, LOOPBACK, http_port, log_config=None, access_log=False, timeout_graceful_shutdown=GRACE_S, ws="none"
    )
    await uvicorn.Server(config).serve()
    await calls.stop(GRACE_S)


async def _main(arguments: argparse.Namespace) -> None:
    sides: Sequence[Side] = [Side.at(described) for described in arguments.side]
    await serve(Front(arguments.state, *sides), arguments.http_port, arguments.grpc_port)


def main() -> None:
    """Pass requests on to two releases' services."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--state", type=Path, required=True, help="folder of the share of users")
    parser.add_argument("--http_port", type=int, required=True)
    parser.add_argument("--grpc_port", type=int, required=True)
    parser.add_argument("--side", action="append", required=True, help="release:http:grpc ports; first the predecessor")
    log.configure()
    asyncio.run(_main(parser.parse_args()))


if __name__ == "__main__":
    main()
