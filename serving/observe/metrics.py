"""What Prometheus is told of requests, relevance, routing, features, events and the log.

Names begin with `archipelago_`. Labels take few values, whatever requests hold. Where several processes serve, they
count in files of one folder (prometheus_client's multiprocess mode), and any of them tells what all have counted.
"""

import time
from collections.abc import Iterator, Sequence
from datetime import datetime

import numpy as np
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram, exposition, values
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from serving.observe.exchange import Exchange

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

REQUESTS = Counter("archipelago_requests", "Requests by HTTP status or gRPC code", ["model", "protocol", "status"])
SECONDS = Histogram("archipelago_request_seconds", "From arrival to answer", ["model"], buckets=_SECONDS)
ITEMS = Histogram(
    "archipelago_request_items",
    "Items or pairs of an answered request",
    ["model"],
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
)
STAGES = Histogram("archipelago_stage_seconds", "Seconds of a request in a stage", ["stage"], buckets=_SECONDS)
SOURCES = Counter("archipelago_ranked_items", "Items ranked, by relevance_source", ["market", "source"])
ROUTED = Counter("archipelago_routed_pairs", "Pairs that the router sent to an expert", ["expert"])
EVENTS = Counter("archipelago_events", "Events taken in", ["type"])
LOG_RECORDS = Counter("archipelago_log_records", "Requests and events by what the serving log did with them", ["what"])


def count(exchange: Exchange, experts: Sequence[str]) -> None:
    """Count a request that is over.

    Args:
        exchange: the request.
        experts: names of the release's experts, by slot.
    """
    REQUESTS.labels(exchange.model, exchange.protocol, exchange.status).inc()
    SECONDS.labels(exchange.model).observe(exchange.seconds)
    for name, seconds in exchange.stages.items():
        STAGES.labels(name).observe(seconds)
    if exchange.items:
        ITEMS.labels(exchange.model).observe(exchange.items)
    for source, items in exchange.sources().items():
        SOURCES.labels(exchange.market, source).inc(items)
    for asked in exchange.experts:
        for name, pairs in zip(experts, np.bincount(asked.ravel(), minlength=len(experts)), strict=True):
            ROUTED.labels(name).inc(int(pairs))


class FeatureAge(Collector):
    """Seconds since the instant as of which the online store's features hold; what clicks push is newer.

    Args:
        as_of: that instant.
    """

    def __init__(self, as_of: datetime) -> None:
        self._as_of = as_of.timestamp()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Asked at each scrape."""
        text = "Seconds since the instant as of which the online store's features hold"
        yield GaugeMetricFamily("archipelago_feature_age_seconds", text, value=time.time() - self._as_of)


def page(features_as_of: datetime | None, accept: str | None) -> tuple[bytes, str]:
    """What /metrics answers, and its content type.

    Args:
        features_as_of: of the features that are read, if any are.
        accept: the header of the caller, which chooses the format.
    """
    together = CollectorRegistry()
    # As prometheus_client saw it when it was imported: Feast names a folder of its own in this process later.
    if values.ValueClass is not values.MutexValue:
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
    else:
        together.register(REGISTRY)
    if features_as_of is not None:
        together.register(FeatureAge(features_as_of))
    encoder, content_type = exposition.choose_encoder(accept or "")
    return encoder(together), content_type
