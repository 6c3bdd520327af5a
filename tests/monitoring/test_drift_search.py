"""Drift of a training set: the whole stage on made-up data, its files, its pages."""

import json
import re
import shutil
import subprocess
from datetime import timedelta
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from components.contracts.errors import BadInput
from components.contracts.tables import write_table
from components.contracts.tools.manifest import read_manifest
from components.contracts.training_set import TRAINING_SET
from components.monitoring.columns import compare_columns
from components.monitoring.config import MonitoringConfig
from components.monitoring.drift import search_drift
from components.monitoring.findings import control, judge_markets, rate
from components.monitoring.search_windows import PREDICTIONS, feature_specs, read_predictions, read_windows
from tests.monitoring.drift_world import (
    CONFIG,
    MARKETS,
    read,
    shopping,
    write_encodings,
    write_items,
    write_ranker,
    write_training_set,
)

# A world in which no test finds a move by chance, as 5 in 100 do.
_QUIET = 1


def _drift(root: Path, config: MonitoringConfig = CONFIG, **world) -> Path:
    rows = shopping(**world)
    out = root / "drift"
    search_drift(
        write_items(root / "log"),
        write_training_set(rows, root / "training_set"),
        write_encodings(rows, root / "encodings"),
        write_ranker(rows, root / "ranker"),
        config,
        out,
    )
    return out


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _drift(tmp_path_factory.mktemp("quiet"), seed=_QUIET)


@pytest.fixture(scope="module")
def shifted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Of many true findings a share of false ones is allowed: a small one, and a world that draws none of them.
    strict = CONFIG.model_copy(update={"false_discovery_rate": 0.01})
    return _drift(tmp_path_factory.mktemp("shifted"), strict, shift={"VN": 0.8}, missing={"VN": 0.3}, seed=10)


def test_nothing_drifts_where_nothing_changed(quiet: Path) -> None:
    found = read(quiet)
    assert found["drifted"] is False and found["severity"] in ("none", "info") and found["expected"] is False
    assert set(found["markets"]) == {*MARKETS, "all"}
    assert not found["untested"]
    scopes = {finding["scope"] for finding in found["findings"]}
    assert scopes == {"feature", "label", "prediction", "embedding"}


def test_a_shifted_market_drifts_alone(shifted: Path) -> None:
    found = read(shifted)
    assert found["markets"]["VN"]["warnings"] and not found["markets"]["TH"]["because"]
    drifted = {(f["market"], f["column"], f["scope"]) for f in found["findings"] if f["severity"] == "warning"}
    assert {
        ("VN", "price_log", "feature"),
        ("VN", "relevance", "missing"),
        ("VN", "user_search_clicks_7d", "feature"),
    } <= drifted
    assert not any(market == "TH" for market, _, _ in drifted)


def test_counts_over_more_days_than_the_log_is_old_are_shown_and_not_judged(shifted: Path) -> None:
    findings = {(f["market"], f["column"]): f for f in read(shifted)["findings"] if f["scope"] == "feature"}
    warming = findings["VN", "user_purchases_30d"]
    assert warming["expected"] and warming["severity"] == "info" and warming["adjusted"] < 0.05
    assert "30 days" in warming["why"] and "9 days old" in warming["why"]
    assert not findings["VN", "user_search_clicks_7d"]["expected"]


def test_a_longer_history_lets_30_day_counts_be_judged() -> None:
    judged = {spec.name: not spec.expected for spec in feature_specs(history_days=30)}
    assert judged["user_purchases_30d"] and judged["user_search_clicks_7d"]


def test_predictions_that_move_between_validation_and_test_drift(tmp_path: Path) -> None:
    rows = shopping()
    windows = read_windows(write_training_set(rows, tmp_path / "training_set"), CONFIG)
    ranker = write_ranker(rows, tmp_path / "ranker", test_logit=1.0)
    findings = compare_columns(*read_predictions(ranker, windows), PREDICTIONS, CONFIG).findings
    verdicts = judge_markets([rate(f, CONFIG) for f in control(findings, CONFIG)])
    # The served score is watched beside p_click, which the released blend may weigh with nought.
    assert all(
        "p_click: mean" in " ".join(v.because) and "score: mean" in " ".join(v.because) for v in verdicts.values()
    )
    assert all(v.severity == "critical" for v in verdicts.values())


def test_windows_hold_the_same_weekdays_and_leave_out_what_was_not_exposed(tmp_path: Path) -> None:
    rows = shopping()
    rows.loc[rows.index % 3 == 0, "exposed"] = 0
    rows.loc[rows.index % 3 == 1, "domain"] = "rec"
    windows = read_windows(write_training_set(rows, tmp_path), CONFIG)
    eligible = rows[(rows["exposed"] == 1) & (rows["domain"] == "search")]
    assert len(windows.current) == (eligible["split"] != "train").sum()
    assert set(windows.reference["split"]) == {"train"}
    for window in (windows.reference, windows.current):
        assert window["timestamp"].max() - window["timestamp"].min() < timedelta(days=5)
    weekdays = [set(w["timestamp"].dt.day_name()) for w in (windows.reference, windows.current)]
    assert weekdays[0] == weekdays[1]


def test_files_are_complete(quiet: Path) -> None:
    assert {p.relative_to(quiet).as_posix() for p in quiet.rglob("*") if p.is_file()} == {
        "drift.json", "drift.prom", "manifest.json", "profile.json", "reports/drift.html",
        "evidently/TH.json", "evidently/VN.json", "evidently/all.json",
    }  # fmt: skip
    manifest = read_manifest(quiet)
    assert manifest["kind"] == "drift" and manifest["simulated"] is True
    assert set(manifest["inputs"]) == {"log", "training_set", "encodings", "ranker"}
    assert manifest["metrics"]["drifted"] is False and manifest["run"]["seconds"] > 0


@pytest.mark.slow
def test_the_same_inputs_give_the_same_bytes(quiet: Path, tmp_path: Path) -> None:
    assert (_drift(tmp_path, seed=_QUIET) / "drift.json").read_bytes() == (quiet / "drift.json").read_bytes()


def test_evidently_gave_the_figures_and_shows_the_market_that_moved(shifted: Path) -> None:
    content = json.loads((shifted / "evidently" / "VN.json").read_text())
    theirs = {
        m["metric_value_location"]["metric"]["params"]["column"]: m["value"] for m in content["metric_results"].values()
    }
    ours = {f["column"]: f["psi"] for f in read(shifted)["findings"] if f["psi"] is not None and f["market"] == "VN"}
    assert "price_log" in ours and ours.items() <= theirs.items() and len(theirs) > len(ours)
    pages = sorted(page.name for page in (shifted / "reports").glob("evidently-*.html"))
    assert "evidently-VN.html" in pages and "evidently-TH.html" not in pages


@pytest.mark.parametrize("page", ["drift", "evidently-VN"])
def test_pages_open_in_a_browser(shifted: Path, tmp_path: Path, page: str) -> None:
    html = (shifted / "reports" / f"{page}.html").read_text(encoding="utf-8")
    assert not re.search(r"<script[^>]+src=.http", html), "a page must not need the network"
    assert re.search(r"<head>.*<title>\w", html, re.DOTALL) and len(html.encode()) < 4e6
    if page == "drift":
        assert 'href="evidently-VN.html"' in html and "price log<" in html
        assert "Simulated data" in html and "VN" in html and "What to do: check the import" in html
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("no chromium on PATH")
    picture = tmp_path / "page.png"
    subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=8000",
         "--window-size=1200,1600", f"--screenshot={picture}", (shifted / "reports" / f"{page}.html").as_uri()],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    assert picture.stat().st_size > 20_000, "the page is blank"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.drop_columns("price_log"), "missing column price_log"),
        (
            lambda table: table.filter(pc.field("split") == "train"),
            "no exposed search rows in the splits valid and test",
        ),
    ],
)
def test_bad_training_sets_are_refused_and_nothing_is_written(tmp_path: Path, change, message: str) -> None:
    rows = shopping(rows={"TH": 500})
    training_set = write_training_set(rows, tmp_path / "training_set")
    write_table(change(pq.read_table(training_set / TRAINING_SET)), training_set / TRAINING_SET)
    with pytest.raises(BadInput, match=message):
        search_drift(
            write_items(tmp_path / "log"),
            training_set,
            write_encodings(rows, tmp_path / "encodings"),
            write_ranker(rows, tmp_path / "ranker"),
            CONFIG,
            tmp_path / "drift",
        )
    assert not (tmp_path / "drift").exists()
