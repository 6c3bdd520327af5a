"""Evidently's part: its figure is the verdict's, and its page is there even where nothing moved."""

from pathlib import Path

import numpy as np
import pytest

from components.monitoring.columns import Measured
from components.monitoring.config import MonitoringConfig
from components.monitoring.distributions import number_bins
from components.monitoring.evidently_report import evidently_psi
from components.monitoring.findings import Finding


def _measured(column: str, shift: float) -> Measured:
    rng = np.random.default_rng(0)
    values, is_current = np.r_[rng.normal(size=2000), rng.normal(shift, 1, size=1500)], np.arange(3500) >= 2000
    return Measured(Finding("feature", "TH", column, "", 2000, 1500), number_bins(values, is_current))


def test_nothing_moved_is_said_on_the_page(tmp_path: Path) -> None:
    page, details = tmp_path / "reports" / "evidently.html", tmp_path / "evidently.json"
    assert evidently_psi([], MonitoringConfig(), page, details) == []
    assert "No column moved" in page.read_text() and details.read_text() == "{}\n"


def test_psi_is_evidentlys_over_the_references_quantiles(tmp_path: Path) -> None:
    both = [_measured("small", 0.2), _measured("large", 0.5)]
    found = evidently_psi(both, MonitoringConfig(), tmp_path / "page.html", tmp_path / "evidently.json")
    for measured, psi in zip(both, found, strict=True):
        before, after = measured.distribution.shares()
        assert psi == pytest.approx(((after - before) * np.log(after / before)).sum())
    assert found[0] < 0.1 < found[1]


def test_a_figure_that_evidently_does_not_give_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("components.monitoring.evidently_report.json.loads", lambda _: {"metrics": []})
    with pytest.raises(RuntimeError, match="gave no PSI for 1 of 1 columns, the first: TH small"):
        evidently_psi([_measured("small", 0.2)], MonitoringConfig(), tmp_path / "page.html", tmp_path / "e.json")
