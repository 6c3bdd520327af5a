"""The public model `search`: check the request, read features, have missing relevance computed, rank, answer.

Choices (ours):

- A request is checked whole before Triton sees it; what is wrong is the caller's error and says what and where.
- Features are read here; Triton has none and no catalogue.
- Relevance that is not stored is computed for the first `max_computed` items, as many as fit into `deadline_ms` and the
  caller's own limit; the ranker is asked afterwards, so a request that asks no expert waits for none.
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
from components.contracts.features import RELEVANCE_COLUMN, assemble
from components.contracts.markets import market_codes
from components.contracts.text import query_key
from serving.observe.exchange import current, stage
from serving.release import Release
from serving.transformer.deadline import Call, call_of
from serving.transformer.experts import Experts
from serving.transformer.online_store import OnlineFeatures
from serving.transformer.payload import bytes_tensor, raw_inputs, respond
from serving.transformer.triton_client import TRITON_TIMEOUT_S, Triton
from serving.transformer.validation import Catalogue, SearchRequest, search_request

OUTPUTS = {
    "item_ids": "BYTES",
    "score": "FP32",
    "relevance": "FP32",
    "p_click": "FP32",
    "p_purchase": "FP32",
    "relevance_source": "BYTES",
}
# What a caller's limit must leave for the ranker, when experts are asked before it.
RANKING_S = 0.1


class Search(Model):  # type: ignore[misc]
    """`search`: rank the given items for a user's query."""

    def __init__(self, release: Release, state: Path, triton: Triton, experts: Experts) -> None:
        super().__init__("search")
        catalogue = release.catalogue()
        self.catalogue = Catalogue(*(catalogue[name].to_pylist() for name in ("item_id", "market", "title")))
        self._codes = market_codes(release.markets)
        self._limits = release.limits
        self.features = OnlineFeatures(state)
        # One thread: the store's connection is one, and reads are short.
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="features")
        self._triton = triton
        self._experts = experts
        self.ready = True

    async def healthy(self) -> bool:
        """Whether the online store can be read."""
        return self.ready and not self.features.failing

    async def predict(self, payload: Any, headers: Any = None) -> InferResponse:  # noqa: ARG002  KServe's signature
        """Validate, read features, compute what is missing, rank, sort: best first, equal scores by item id."""
        try:
            request = search_request(raw_inputs(payload), tuple(self._codes))
            titles = self.catalogue.titles(request.item_ids, request.market)
            call = call_of(payload.parameters)
        except BadInput as error:
            raise InvalidInput(str(error)) from error
        exchange = current()
        exchange.market, exchange.user_id, exchange.query = request.market, request.user_id, request.query
        exchange.items = len(request.item_ids)
        with stage("features"):
            columns, user_known = await asyncio.get_running_loop().run_in_executor(
                self._reader,
                self.features.read,
                request.user_id,
                self._codes[request.market],
                query_key(request.market, request.query),
                request.item_ids,
                payload.parameters.get("request_time"),
            )
        tensors = assemble(columns)
        source = await self._complete(tensors.numeric[:, RELEVANCE_COLUMN], request, titles, call)
        scored = await self._triton.infer(
            "search",
            {
                "numeric": tensors.numeric,
                "categorical": tensors.categorical,
                "sequences": tensors.sequences,
                "market": bytes_tensor([request.market]),
            },
            call.within(TRITON_TIMEOUT_S),
        )
        item_ids = np.array(request.item_ids, dtype=object)
        order = np.lexsort((item_ids.astype(str), -scored["score"].astype(np.float64)))
        values = {**scored, "item_ids": item_ids, "relevance_source": source}
        exchange.page = {n: values[n][order] for n in OUTPUTS}
        told: dict[str, bool | str] = {"user_known": user_known}
        if exchange.logged:
            told["request_id"] = exchange.request_id
        return respond(payload, self.name, exchange.page, told)

    async def _complete(
        self, relevance_n: np.ndarray, request: SearchRequest, titles: list[str], call: Call
    ) -> np.ndarray:
        """Fill in missing values of `relevance_n` (NaN) as far as they can be had; the source of each, BYTES (n,)."""
        source = np.full(len(relevance_n), b"stored", dtype=object)
        missing = np.flatnonzero(np.isnan(relevance_n))
        source[missing] = b"default"
        asked = missing[: self._limits.max_computed]
        if len(asked):
            until = min(call.arrived + self._limits.deadline_s, call.due - RANKING_S)
            texts = ([request.market] * len(asked), [request.query] * len(asked), [titles[row] for row in asked])
            for part in await self._experts.score(*texts, until):
                rows, asked = np.split(asked, [len(part["relevance"])])
                relevance_n[rows] = part["relevance"]
                source[rows] = b"computed"
        return source

    def get_input_types(self) -> list[dict[str, Any]]:
        """V2 metadata."""
        lengths = {"market": 1, "user_id": 1, "query": 1, "item_ids": -1}
        return [{"name": name, "datatype": "BYTES", "shape": [length]} for name, length in lengths.items()]

    def get_output_types(self) -> list[dict[str, Any]]:
        """V2 metadata."""
        return [{"name": name, "datatype": datatype, "shape": [-1]} for name, datatype in OUTPUTS.items()]
