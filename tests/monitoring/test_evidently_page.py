"""Evidently's part: its figure is the verdict's, and a market's page shows what moved in it alone, below 4 MB."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from components.monitoring.columns import Measured
from components.monitoring.config import MonitoringConfig
from components.monitoring.distributions import number_bins
from components.monitoring.evidently_report import evidently_psi, worst_page, write_evidently
from components.monitoring.findings import Finding
from tests.contracts.tools.browser import measure

CONFIG = MonitoringConfig()


def _measured(column: str, shift: float, market: str = "TH") -> Measured:
    rng = np.random.default_rng(0)
    values, is_current = np.r_[rng.normal(size=2000), rng.normal(shift, 1, size=1500)], np.arange(3500) >= 2000
    return Measured(Finding("feature", market, column, "", 2000, 1500, size=shift), number_bins(values, is_current))


def test_nothing_measured_needs_no_figure() -> None:
    assert evidently_psi([], CONFIG) == []


def test_psi_is_evidentlys_over_the_references_quantiles() -> None:
    both = [_measured("small", 0.2), _measured("large", 0.5), _measured("large", 0.5, "VN")]
    found = evidently_psi(both, CONFIG)
    for measured, psi in zip(both, found, strict=True):
        before, after = measured.distribution.shares()
        assert psi == pytest.approx(((after - before) * np.log(after / before)).sum())
    assert found[0] < 0.1 < found[1]


def test_a_figure_that_evidently_does_not_give_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evidently.core.report.Snapshot.dict", lambda _: {"metrics": []})
    with pytest.raises(RuntimeError, match="gave no PSI for 1 of 1 columns, the first: 0 small"):
        evidently_psi([_measured("small", 0.2)], CONFIG)


def test_a_page_a_market_is_titled_below_4_mb_and_shows_what_moved(tmp_path: Path) -> None:
    many = [_measured(f"column {number}", 0.3 + number / 1000) for number in range(60)]
    quiet = [_measured("quiet", 0, "TH"), _measured("quiet", 0, "VN")]
    moved = [replace(m.finding, severity="warning") for m in many]
    pages = write_evidently([*many, *quiet], moved, CONFIG, tmp_path)
    assert pages == {"TH": tmp_path / "reports" / "evidently-TH.html"}
    page = pages["TH"].read_text(encoding="utf-8")
    assert len(page.encode()) < 4e6 and "<title>Columns that moved, TH</title>" in page
    assert "column 59" in page and "quiet" not in page and "'column 0'" not in page
    assert "Data drift detected" in page and "not detected" not in page
    assert sorted(path.stem for path in (tmp_path / "evidently").iterdir()) == ["TH", "VN"]
    assert "quiet" in (tmp_path / "evidently" / "VN.json").read_text()


def test_a_market_of_any_name_has_its_page(tmp_path: Path) -> None:
    measured = _measured("price", 1, "../<b>")
    pages = write_evidently([measured], [measured.finding], CONFIG, tmp_path)
    assert pages["../<b>"].parent == tmp_path / "reports" and "<b>" not in pages["../<b>"].read_text()[:2000]


def test_the_worst_market_comes_first(tmp_path: Path) -> None:
    measured = [_measured("price", 1, market) for market in ("TH", "VN")]
    pages = write_evidently(measured, [m.finding for m in measured], CONFIG, tmp_path)
    verdicts = {"TH": {"critical": 0, "warnings": 3}, "VN": {"critical": 1, "warnings": 0}}
    assert worst_page({"markets": verdicts}, tmp_path) == pages["VN"]
    assert worst_page({"markets": {}}, tmp_path) is None


def test_a_page_fits_a_telephone(tmp_path: Path) -> None:
    measured = _measured("price of an item with a long name", 1)
    pages = write_evidently([measured], [measured.finding], CONFIG, tmp_path)
    layout = measure(pages["TH"], 420, tmp_path / "browser")
    assert layout.figures and layout.page <= 420 and not layout.outside and not layout.clashes
