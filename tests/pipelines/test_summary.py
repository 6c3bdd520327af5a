"""What a person reads at the end of a run."""

import re
from pathlib import Path

import pytest

from components.release.conclusions import conclusions
from pipelines.runner import Run
from pipelines.summary import collect_reports, show
from tests.pipelines.run_summary import MARKETS, VARIANTS, gate, summary


def test_every_variant_and_market_is_printed_whole(capsys: pytest.CaptureFixture[str]) -> None:
    show(summary())
    said = capsys.readouterr().out
    assert all(name in said for name in VARIANTS), "no column may be cut where the output is not a wide terminal"
    lines = {line.split("\u2502")[1].strip(): line for line in said.splitlines() if line.startswith("\u2502")}
    assert set(MARKETS) <= set(lines)
    assert "0.700 (0.690 to 0.710)" in lines["EN"]
    assert lines["JA"].split("\u2502")[2].strip() == "–"


def test_every_gain_is_printed_with_its_interval(capsys: pytest.CaptureFixture[str]) -> None:
    show(summary())
    said = capsys.readouterr().out
    gains = re.findall(r"[+-]\d+\.\d\d(?! to| \()", re.sub(r"\([^)]*\)", "", said))
    assert gains and len(gains) == len(re.findall(r"[+-]\d+\.\d\d \([+-]\d+\.\d\d to [+-]\d+\.\d\d\)", said))
    assert "dlrm_exposed" in said and "+0.42 (-0.10 to +0.94)" in said


def test_what_may_be_concluded_and_where_to_look_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    show(summary())
    said = capsys.readouterr().out
    assert all(sentence in said for sentence in conclusions(summary())), "sentences are not cut or wrapped"
    first = said.split("Look at first")[1].split()
    assert first[:3] == ["runs/x/index.html", "runs/x/reports/relevance.html", "runs/x/reports/ranking.html"]


def test_where_each_report_lies_is_printed_whole(capsys: pytest.CaptureFixture[str]) -> None:
    path = f"{'a-long-name/' * 20}reports/drift.html"
    show(summary(reports={**summary()["reports"], "drift": path}))
    assert path in capsys.readouterr().out


def test_reports_of_all_steps_are_gathered_and_those_of_a_market_stand_together(tmp_path: Path) -> None:
    for name in ("evidently-VN", "gate", "evidently-TH", "drift", "another"):
        (tmp_path / name / "reports").mkdir(parents=True)
        (tmp_path / name / "reports" / f"{name}.html").write_text(name)
    run = Run({name.name: name for name in sorted(tmp_path.iterdir())}, {})
    found = collect_reports(run, tmp_path / "reports")
    assert list(found) == ["drift", "evidently-TH", "evidently-VN", "gate", "another"]
    assert all(Path(path).read_text() == name for name, path in found.items())


def test_a_refused_release_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    show(summary(gate=gate(False), release=None))
    said = capsys.readouterr().out
    assert "refused" in said and "none" in said and "Try next" not in said
    assert said.split("Look at first")[1].split()[1] == "runs/x/reports/gate.html"
