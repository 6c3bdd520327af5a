"""Evidently's page is there even where there was nothing to compare."""

from pathlib import Path

from components.monitoring.config import MonitoringConfig
from components.monitoring.evidently_report import evidently_scores


def test_nothing_to_compare_is_said_on_the_page(tmp_path: Path) -> None:
    page, details = tmp_path / "reports" / "evidently.html", tmp_path / "evidently.json"
    assert evidently_scores([], MonitoringConfig(), page, details) == []
    assert "no column to look at" in page.read_text() and details.read_text() == "{}\n"
