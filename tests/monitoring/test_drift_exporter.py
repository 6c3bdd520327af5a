"""Prometheus can read what the exporter writes."""

from prometheus_client.parser import text_string_to_metric_families

from components.monitoring.exporter import prometheus_text
from components.monitoring.findings import Finding, summarise, untested
from tests.monitoring.drift_world import CONFIG


def test_every_figure_of_drift_json_parses_back() -> None:
    findings = [
        Finding("feature", "TH", 'odd "name"\n', "", 500, 500, {"mix": 0.001}, 0.001, 0.01, 0.4, 0.3, "warning"),
        Finding("embedding", "TH", "title", "", 500, 500, {"AUC": 0.5}, 0.5, 0.5, 0.51),
        untested("market", "VN", "*", (3, 500), "too few"),
    ]
    summary = summarise("search", findings, CONFIG, {}, True)
    samples = {
        (sample.name, sample.labels.get("market"), sample.labels.get("column")): sample.value
        for family in text_string_to_metric_families(prometheus_text(summary))
        for sample in family.samples
    }
    assert samples["archipelago_drift_severity", "TH", None] == 2
    assert samples["archipelago_drift_severity", "VN", None] == 2, "a market that was not tested did not pass"
    assert samples["archipelago_drift_untested", "VN", None] == 1
    assert samples["archipelago_drift_column_severity", "TH", 'odd "name"\n'] == 2
    assert samples["archipelago_drift_moved_share", "TH", 'odd "name"\n'] == 0.4
    assert samples["archipelago_drift_psi", "TH", 'odd "name"\n'] == 0.3
    assert samples["archipelago_drift_p_value", "TH", "title"] == 0.5
    assert ("archipelago_drift_psi", "TH", "title") not in samples
    assert samples["archipelago_drift_expected", None, None] == 0
