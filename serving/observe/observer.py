"""What is done with every request that is over: it is counted, and logged where a log is kept."""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime

from serving.observe import metrics, tracing
from serving.observe.exchange import Exchange, opened
from serving.observe.serving_log import ServingLog

_UNKNOWN = "unknown"
_ANSWERED = ("200", "OK")


class Observer:
    """One per process.

    Args:
        models: names that a request may ask for; others are counted as one.
        experts: names of the release's experts, by slot.
        log: where requests are logged, if they are.
        features_as_of: says as of which instant the features hold that are read now, if any are.
    """

    def __init__(
        self,
        models: Collection[str],
        experts: Sequence[str],
        log: ServingLog | None = None,
        features_as_of: Callable[[], datetime] | None = None,
    ) -> None:
        self._models = frozenset(models)
        self._experts = experts
        self.log = log
        self.features_as_of = features_as_of

    @contextmanager
    def observed(self, protocol: str, model: str, headers: Mapping[str, str]) -> Iterator[Exchange]:
        """Open an exchange for a request; its status must be set before it is left."""
        exchange = Exchange(protocol, model if model in self._models else _UNKNOWN, logged=self.log is not None)
        try:
            with tracing.span(f"{exchange.model} {protocol}", caller=headers), opened(exchange):
                yield exchange
        finally:
            if exchange.status not in _ANSWERED:
                exchange.page = None  # nobody saw it
            exchange.seconds = time.perf_counter() - exchange.started
            metrics.count(exchange, self._experts)
            if self.log is not None:
                self.log.offer(exchange)
