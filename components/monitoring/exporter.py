"""drift.json as Prometheus metrics, in the text format (Evidently has no exporter of its own).

Written beside drift.json as `drift.prom`, for a node exporter's textfile collector or a push gateway.
"""

from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from components.monitoring.findings import SEVERITIES


def prometheus_text(drift: Mapping[str, Any]) -> str:
    """The content of drift.json in Prometheus' text format.

    Gauges: archipelago_drift_severity (0 none, 1 info, 2 warning, 3 critical) and archipelago_drift_untested by market;
    archipelago_drift_column_severity, _moved_share (AUC for an embedding), _psi and _p_value (adjusted) by scope,
    market and column; archipelago_drift_expected. All have the label `kind` ("search", "relevance", "compare").
    """
    registry = CollectorRegistry()
    kind = drift["kind"]

    def gauge(name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"archipelago_drift_{name}", text, ["kind", *labels], registry=registry)

    gauge("expected", "Whether the profile expects drift").labels(kind).set(drift["expected"])
    severity = gauge("severity", "Worst level of the market: 0 none, 1 info, 2 warning, 3 critical", "market")
    absent = gauge("untested", "Columns of the market that could not be tested", "market")
    for market, verdict in drift["markets"].items():
        severity.labels(kind, market).set(SEVERITIES.index(verdict["severity"]))
        absent.labels(kind, market).set(sum(column["market"] == market for column in drift["untested"]))
    columns = ("scope", "market", "column")
    gauges = {
        "severity": gauge("column_severity", "Level of the column: 0 none, 1 info, 2 warning, 3 critical", *columns),
        "size": gauge("moved_share", "Share of rows in another bin or category; an embedding's AUC", *columns),
        "psi": gauge("psi", "Population stability index of a column that moved", *columns),
        "adjusted": gauge("p_value", "P-value, adjusted over the run", *columns),
    }
    for finding in drift["findings"]:
        labels = [kind, *(finding[name] for name in columns)]
        for name, metric in gauges.items():
            value = SEVERITIES.index(finding[name]) if name == "severity" else finding[name]
            if value is not None:
                metric.labels(*labels).set(value)
    return generate_latest(registry).decode()
