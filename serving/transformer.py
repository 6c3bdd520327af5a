"""The public face of a release: a KServe transformer with the models `search` and `relevance`.

It checks requests, reads features, asks Triton over gRPC and sorts the page. It runs in a process of its own: KServe
and Triton's own client cannot be imported together.
"""

import argparse
import asyncio
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]
import numpy as np
from kserve import InferInput, InferOutput, InferRequest, InferResponse, Model, model_server
from kserve.errors import InvalidInput
from kserve.inference_client import InferenceGRPCClient

from components.contracts import log
from components.contracts.errors import BadInput
from components.contracts.features import assemble
from components.contracts.markets import market_codes
from components.contracts.text import query_key
from serving.kserve_server import TransformerServer, Unavailable
from serving.online_store import OnlineFeatures, build_online_store
from serving.release import Release, open_release
from serving.validation import Catalogue, RawInput, relevance_request, search_request

TRITON_TIMEOUT_S = 30.0
_CANNOT_ANSWER_NOW = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)


class Triton:
    """The predictor behind both models."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._client: InferenceGRPCClient | None = None

    async def infer(self, model: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name.

        Raises:
            Unavailable: Triton cannot be reached, or not in time.
            RuntimeError: the model failed.
        """
        tensors = []
        for name, values in inputs.items():
            tensor = InferInput(name, list(values.shape), _DATATYPES[values.dtype.str])
            tensor.set_data_from_numpy(values, binary_data=True)
            tensor.parameters = None
            tensors.append(tensor)
        try:
            answer = await self._connected().infer(InferRequest(model, tensors, request_id=uuid.uuid4().hex))
        except grpc.aio.AioRpcError as error:
            message = f"Triton model {model}: {error.code().name}: {error.details()}"
            raise Unavailable(message) if error.code() in _CANNOT_ANSWER_NOW else RuntimeError(message) from error
        return {output.name: output.as_numpy() for output in answer.outputs}

    async def is_ready(self) -> bool:
        """Whether Triton says that its models are ready."""
        try:
            return bool(await self._connected().is_server_ready(timeout=5))
        except grpc.aio.AioRpcError:
            return False

    def _connected(self) -> InferenceGRPCClient:
        # On first use: the channel belongs to the running event loop.
        if self._client is None:
            self._client = InferenceGRPCClient(self._address, timeout=TRITON_TIMEOUT_S, retries=2)
        return self._client


class Search(Model):  # type: ignore[misc]
    """`search`: rank the given items for a user's query."""

    def __init__(self, release: Release, state: Path, triton: Triton) -> None:
        super().__init__("search")
        catalogue = release.catalogue()
        self._catalogue = Catalogue(*(catalogue[name].to_pylist() for name in ("item_id", "market", "title")))
        self._codes = market_codes(release.markets)
        self._features = OnlineFeatures(state)
        # One thread: the store's connection is one, and reads are short.
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="features")
        self._triton = triton
        self.ready = True

    async def predict(self, payload: Any, headers: Any = None) -> InferResponse:  # noqa: ARG002  KServe's signature
        """Validate, read features, rank, sort: best first, equal scores by item id."""
        try:
            request = search_request(raw_inputs(payload), tuple(self._codes))
            titles = self._catalogue.titles(request.item_ids, request.market)
        except BadInput as error:
            raise InvalidInput(str(error)) from error
        columns, user_known = await asyncio.get_running_loop().run_in_executor(
            self._reader,
            self._features.read,
            request.user_id,
            self._codes[request.market],
            query_key(request.market, request.query),
            request.item_ids,
        )
        tensors = assemble(columns)
        scored = await self._triton.infer(
            "search",
            {
                "numeric": tensors.numeric,
                "categorical": tensors.categorical,
                "sequences": tensors.sequences,
                "market": _bytes([request.market]),
                "query": _bytes([request.query]),
                "titles": _bytes(titles),
            },
        )
        item_ids = np.array(request.item_ids, dtype=object)
        order = np.lexsort((item_ids.astype(str), -scored["score"].astype(np.float64)))
        outputs = {"item_ids": item_ids} | {name: scored[name] for name in SEARCH_OUTPUTS if name != "item_ids"}
        return respond(payload, self.name, {n: v[order] for n, v in outputs.items()}, {"user_known": user_known})

    def get_input_types(self) -> list[dict[str, Any]]:
        """V2 metadata."""
        lengths = {"market": 1, "user_id": 1, "query": 1, "item_ids": -1}
        return [{"name": name, "datatype": "BYTES", "shape": [length]} for name, length in lengths.items()]

    def get_output_types(self) -> list[dict[str, Any]]:
        """V2 metadata."""
        return [{"name": name, "datatype": datatype, "shape": [-1]} for name, datatype in SEARCH_OUTPUTS.items()]


class Relevance(Model):  # type: ignore[misc]
    """`relevance`: score (market, query, title) pairs."""

    def __init__(self, release: Release, triton: Triton) -> None:
        super().__init__("relevance")
        self._markets = release.markets
        self._triton = triton
        self.ready = True

    async def predict(self, payload: Any, headers: Any = None) -> InferResponse:  # noqa: ARG002  KServe's signature
        """Validate and score."""
        try:
            request = relevance_request(raw_inputs(payload), self._markets)
        except BadInput as error:
            raise InvalidInput(str(error)) from error
        inputs = {
            "market": _bytes(request.markets),
            "query": _bytes(request.queries),
            "title": _bytes(request.titles),
        }
        return respond(payload, self.name, await self._triton.infer("relevance", inputs), {})

    def get_input_types(self) -> list[dict[str, Any]]:
        """V2 metadata."""
        return [{"name": name, "datatype": "BYTES", "shape": [-1]} for name in ("market", "query", "title")]

    def get_output_types(self) -> list[dict[str, Any]]:
        """V2 metadata."""
        return [
            {"name": "relevance", "datatype": "FP32", "shape": [-1]},
            {"name": "experts", "datatype": "INT64", "shape": [-1, -1]},
        ]


SEARCH_OUTPUTS = {
    "item_ids": "BYTES",
    "score": "FP32",
    "relevance": "FP32",
    "p_click": "FP32",
    "p_purchase": "FP32",
    "relevance_source": "BYTES",
}
_DATATYPES = {"<f4": "FP32", "<i8": "INT64", "|O": "BYTES"}


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
    request: InferRequest, model: str, outputs: Mapping[str, np.ndarray], parameters: Mapping[str, bool]
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
        tensor = InferOutput(name, list(values.shape), _DATATYPES[values.dtype.str], values)
        if request.from_grpc:
            tensor.set_data_from_numpy(values, binary_data=True)
            tensor.parameters = None  # it notes a size that only REST needs
        tensors.append(tensor)
    return InferResponse(
        request.id or uuid.uuid4().hex,
        model,
        tensors,
        parameters=dict(parameters) or None,
        use_binary_outputs=request.use_binary_outputs,
        requested_outputs=request.request_outputs,
    )


def _bytes(texts: Sequence[str]) -> np.ndarray:
    return np.array([text.encode() for text in texts], dtype=object)


def main() -> None:
    """Serve a release; KServe's own flags name the ports and the predictor."""
    parser = argparse.ArgumentParser(parents=[model_server.parser], conflict_handler="resolve")
    parser.add_argument("--release", type=Path, required=True, help="release folder")
    parser.add_argument("--state", type=Path, required=True, help="folder of the online store")
    parser.add_argument("--host", default="127.0.0.1", help="interface to listen on (default: loopback)")
    args = parser.parse_args()
    log.configure()
    release = open_release(args.release)
    triton = Triton(args.predictor_host)
    models: list[Model] = [Relevance(release, triton)]
    if release.has_search:
        build_online_store(release.features, args.state)  # in a pod nobody has done so before
        models.append(Search(release, args.state, triton))
    TransformerServer(args.host, args.http_port, args.grpc_port, triton.is_ready).start(models)


if __name__ == "__main__":
    main()
