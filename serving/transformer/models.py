"""The public models of a release, `search` and `relevance`: check the request, ask Triton, answer.

Choices (ours):

- A request is checked whole before Triton sees it; what is wrong is the caller's error and says what and where.
- Features are read here, with two batched reads: the user and the query once, all items together.
- Triton has no features and no catalogue: it gets tensors and titles.
- An unknown user is served with the features of a new one; an unknown item or market is refused.
- Pages are sorted by score, then item id, so that equal requests give equal pages.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from kserve import InferResponse, Model
from kserve.errors import InvalidInput

from components.contracts.errors import BadInput
from components.contracts.features import assemble
from components.contracts.markets import market_codes
from components.contracts.text import query_key
from serving.release import Release
from serving.transformer.online_store import OnlineFeatures
from serving.transformer.payload import bytes_tensor, raw_inputs, respond
from serving.transformer.triton_client import Triton
from serving.transformer.validation import Catalogue, relevance_request, search_request

SEARCH_OUTPUTS = {
    "item_ids": "BYTES",
    "score": "FP32",
    "relevance": "FP32",
    "p_click": "FP32",
    "p_purchase": "FP32",
    "relevance_source": "BYTES",
}


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
                "market": bytes_tensor([request.market]),
                "query": bytes_tensor([request.query]),
                "titles": bytes_tensor(titles),
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
            "market": bytes_tensor(request.markets),
            "query": bytes_tensor(request.queries),
            "title": bytes_tensor(request.titles),
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
