"""One request under way: what is known of it so far, for metrics, logs and traces.

The boundary of the server opens an exchange, models fill it in, the boundary closes it with a status. A context
variable carries it: nothing is handed through, and a model that is called without a server writes into one that nobody
reads.
"""

import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import perf_counter

import numpy as np

from serving.observe import tracing


@dataclass
class Exchange:
    """A request and what became of it.

    Attributes:
        protocol: "rest" or "grpc".
        model: the model asked, or "events".
        request_id: made here, so that it is unique whatever id the caller gives.
        logged: whether a log is kept; the answer then tells `request_id`, for events to refer to.
        time: when it arrived.
        market, user_id, query: of a valid search.
        items: how many items or pairs it asks about.
        page: outputs of an answered search, best first: arrays (n,) by name.
        experts: int64 (m, k) slots of the experts that were asked, of each batch of m pairs.
        stages: seconds by stage.
        status: an HTTP status or a gRPC code's name, once it is answered.
        seconds: from arrival to answer.
    """

    protocol: str = "none"
    model: str = ""
    request_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    logged: bool = False
    time: datetime = field(default_factory=lambda: datetime.now(UTC))
    market: str | None = None
    user_id: str | None = None
    query: str | None = None
    items: int = 0
    page: Mapping[str, np.ndarray] | None = None
    experts: list[np.ndarray] = field(default_factory=list)
    stages: dict[str, float] = field(default_factory=dict)
    status: str = ""
    seconds: float = 0.0
    started: float = field(default_factory=perf_counter)

    def sources(self) -> dict[str, int]:
        """How many items of the page have each relevance_source."""
        if self.page is None:
            return {}
        return {source.decode(): count for source, count in Counter(self.page["relevance_source"].tolist()).items()}


_current: ContextVar[Exchange | None] = ContextVar("exchange", default=None)


def current() -> Exchange:
    """The exchange that this code runs for; outside a server, one that nobody reads."""
    return _current.get() or Exchange()


@contextmanager
def opened(exchange: Exchange) -> Iterator[Exchange]:
    """Make `exchange` the current one."""
    token = _current.set(exchange)
    try:
        yield exchange
    finally:
        _current.reset(token)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Time a part of the current request ("features", "queue", "triton_search", ...), and trace it as a span.

    Parts of one name add up; parts that run at the same time may add up to more than the request took.
    """
    stages = current().stages
    began = perf_counter()
    try:
        with tracing.span(name):
            yield
    finally:
        stages[name] = stages.get(name, 0.0) + perf_counter() - began
