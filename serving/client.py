"""A thin client of a served release: KServe V2 over HTTP."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, overload

import httpx
import numpy as np

from components.contracts.errors import ArchipelagoError, BadInput

TIMEOUT_S = 30.0


class Unavailable(ArchipelagoError):
    """The service cannot be reached or cannot answer now."""


@dataclass(frozen=True)
class Row:
    """One item of a result page."""

    item_id: str
    score: float
    relevance: float
    p_click: float
    p_purchase: float
    relevance_source: str


@dataclass(frozen=True)
class Page(Sequence[Row]):
    """A ranked page, best first.

    Attributes:
        rows: its items.
        user_known: whether the user has features of their own.
        request_id: what events refer to, where the service keeps a log.
    """

    rows: tuple[Row, ...]
    user_known: bool
    request_id: str | None = None

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Row, ...]: ...
    def __getitem__(self, index: int | slice) -> Row | tuple[Row, ...]:
        """A row, or a tuple of rows."""
        return self.rows[index]

    def __len__(self) -> int:
        """Number of items."""
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        """The rows, best first."""
        return iter(self.rows)


def search(
    url: str,
    market: str,
    user_id: str,
    query: str,
    item_ids: Sequence[str],
    http: httpx.Client | None = None,
    at: datetime | None = None,
) -> Page:
    """Rank items for a user's query.

    Args:
        url: of the service, e.g. "http://127.0.0.1:8080".
        market, user_id, query: of the request.
        item_ids: 1 to 1000 candidates of that market.
        http: an open client whose connection is used; none opens one for the call.
        at: the request's time, by default the service's now.

    Raises:
        BadInput: the service refused the request; the message is its own.
        Unavailable: it cannot be reached or cannot answer now.
    """
    inputs = {"market": [market], "user_id": [user_id], "query": [query], "item_ids": item_ids}
    answer = _infer(url, "search", inputs, http, {"request_time": at.isoformat()} if at else {})
    columns = {output["name"]: output["data"] for output in answer["outputs"]}
    names = ("item_ids", "score", "relevance", "p_click", "p_purchase", "relevance_source")
    rows = tuple(Row(*values) for values in zip(*(columns[name] for name in names), strict=True))
    told = answer["parameters"]
    return Page(rows, bool(told["user_known"]), told.get("request_id"))


def relevance(
    url: str,
    markets: Sequence[str],
    queries: Sequence[str],
    titles: Sequence[str],
    http: httpx.Client | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Relevance float32 (n,) and chosen experts int64 (n, k) of n pairs; errors as in `search`."""
    answer = _infer(url, "relevance", {"market": markets, "query": queries, "title": titles}, http)
    outputs = {output["name"]: output for output in answer["outputs"]}
    experts = np.array(outputs["experts"]["data"], dtype=np.int64).reshape(outputs["experts"]["shape"])
    return np.array(outputs["relevance"]["data"], dtype=np.float32), experts


def send_events(url: str, events: Sequence[Mapping[str, Any]], http: httpx.Client | None = None) -> None:
    """Tell the service what users did: 1 to 1000 events, as its page describes them; errors as in `search`."""
    _post(f"{url.rstrip('/')}/v1/events", {"events": list(events)}, http)


def _infer(
    url: str,
    model: str,
    inputs: Mapping[str, Sequence[str]],
    http: httpx.Client | None,
    parameters: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    body: dict[str, Any] = {
        "inputs": [
            {"name": name, "datatype": "BYTES", "shape": [len(values)], "data": list(values)}
            for name, values in inputs.items()
        ]
    }
    if parameters:
        body["parameters"] = dict(parameters)
    return _post(f"{url.rstrip('/')}/v2/models/{model}/infer", body, http)


def _post(address: str, body: Mapping[str, Any], http: httpx.Client | None) -> dict[str, Any]:
    try:
        if http is None:
            answer = httpx.post(address, json=body, timeout=TIMEOUT_S)
        else:
            answer = http.post(address, json=body, timeout=TIMEOUT_S)
    except httpx.HTTPError as error:
        raise Unavailable(f"{address}: no answer ({type(error).__name__}: {error})") from error
    if answer.is_success:
        return dict(answer.json())
    try:
        message = str(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        message = answer.text[:500]
    if answer.status_code == httpx.codes.BAD_REQUEST:
        raise BadInput(message)
    raise Unavailable(f"{address}: {answer.status_code} {message}")
