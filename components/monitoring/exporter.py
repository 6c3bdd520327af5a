"""drift.json as Prometheus metrics, in the text format (Evidently has no exporter of its own).

Written beside drift.json as `drift.prom`, for a node exporter's textfile collector or a push gateway.
"""

from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, generate_latest


def prometheus_text(drift: Mapping[str, Any]) -> str:
    """The content of drift.json in Prometheus' text format.

    Gauges: archipelago_drift_detected and archipelago_drift_column_share by market; archipelago_drift_score and
    archipelago_drift_threshold by scope, market, column and method; archipelago_drift_untested by market;
    archipelago_drift_expected. All have the label `kind` ("search", "relevance", "compare").
    """
    registry = CollectorRegistry()
    kind = drift["kind"]

    def gauge(name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"archipelago_drift_{name}", text, ["kind", *labels], registry=registry)

    gauge("expected", "Whether the profile expects drift").labels(kind).set(drift["expected"])
    detected = gauge("detected", "Whether the market drifted", "market")
    share = gauge("column_share", "Share of the market's tested columns that drifted", "market")
    absent = gauge("untested", "Columns of the market that could not be tested", "market")
    for market, verdict in drift["shares"].items():
        detected.labels(kind, market).set(verdict["drifted"])
        share.labels(kind, market).set(verdict["share"])
        absent.labels(kind, market).set(sum(column["market"] == market for column in drift["untested"]))
    columns = ("scope", "market", "column", "method")
    score = gauge("score", "Drift score of the column", *columns)
    threshold = gauge("threshold", "Score at which the column drifts", *columns)
    for finding in drift["findings"]:
        if finding["score"] is not None:
            labels = [kind, *(finding[name] for name in columns)]
            score.labels(*labels).set(finding["score"])
            threshold.labels(*labels).set(finding["threshold"])
    return generate_latest(registry).decode()
