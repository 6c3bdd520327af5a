"""Prometheus can read what the exporter writes."""

from prometheus_client.parser import text_string_to_metric_families

from components.monitoring.exporter import prometheus_text
from components.monitoring.findings import Finding, summarise, untested
from tests.monitoring.drift_world import CONFIG


def test_every_figure_of_drift_json_parses_back() -> None:
    findings = [
        Finding("feature", "TH", 'odd "name"\n', "psi", 0.4, 0.2, True, 500, 500),
        Finding("embedding", "TH", "title", "domain classifier AUC", 0.7, 0.6, True, 500, 500),
        untested("market", "VN", "*", (3, 500), "too few"),
    ]
    summary = summarise("search", findings, CONFIG, {}, True)
    samples = {
        (sample.name, sample.labels.get("market"), sample.labels.get("column")): sample.value
        for family in text_string_to_metric_families(prometheus_text(summary))
        for sample in family.samples
    }
    assert samples["archipelago_drift_detected", "TH", None] == 1
    assert samples["archipelago_drift_detected", "VN", None] == 0
    assert samples["archipelago_drift_untested", "VN", None] == 1
    assert samples["archipelago_drift_column_share", "TH", None] == 1.0
    assert samples["archipelago_drift_score", "TH", 'odd "name"\n'] == 0.4
    assert samples["archipelago_drift_threshold", "TH", "title"] == 0.6
    assert samples["archipelago_drift_expected", None, None] == 0
