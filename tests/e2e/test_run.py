"""The whole loop through the command line: every stage real, on the tiny profile."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.contracts.markets import MARKETS
from components.contracts.releases import PUBLIC_KEY, SIGNATURE, SIGNING_KEY
from components.contracts.signature import check_signature
from pipelines.profile import load_profile
from pipelines.runner import steps_here
from pipelines.training_pipeline import build_pipeline
from tests.contracts.test_signature import write_keys
from tests.contracts.tools.browser import measure

Archipelago = Callable[..., str]
pytestmark = pytest.mark.slow
SUMMARY_KEYS = {"stages", "peak_rss_mb", "relevance", "ranking", "drift", "gate", "release", "serving", "reports"}


def log_of(run: Path) -> Path:
    (folder,) = run.glob("pipeline/*/*/log")
    return folder


def test_a_simulated_run_leaves_a_whole_summary(simulated: Path) -> None:
    summary = json.loads((simulated / "summary.json").read_text())
    assert set(summary) >= SUMMARY_KEYS
    assert summary["simulated"] is True
    for aucs in summary["relevance"].values():
        assert set(MARKETS) | {"macro", "pooled"} <= set(aucs)
    assert {"dlrm_exposed", "hhsft_es3"} <= set(summary["ranking"])
    assert all({"auc", "gauc", "hr@5", "ndcg@10"} <= set(metrics) for metrics in summary["ranking"].values())
    assert summary["gate"]["passed"] is True
    assert summary["drift"]["drifted"] is False
    assert all(seconds > 0 for seconds in summary["stages"].values())
    # What a person sees counted, "[3/12] ...", is what runs.
    assert set(summary["stages"]) == steps_here(build_pipeline("simulator", load_profile("tiny")))
    assert summary["peak_rss_mb"] < 8192


def test_served_scores_equal_offline_scores_on_both_paths(simulated: Path) -> None:
    serving = json.loads((simulated / "summary.json").read_text())["serving"]
    assert serving["requests"] >= len(MARKETS)
    assert serving["max_abs_diff"] < 1e-4


def test_the_release_is_named_by_its_digest_and_holds_what_serving_needs(simulated: Path) -> None:
    summary = json.loads((simulated / "summary.json").read_text())
    release = Path(summary["release"]["path"])
    assert release.name == summary["release"]["digest"]
    assert json.loads((release / "manifest.json").read_text())["digest"].startswith(release.name)
    for part in (
        "triton",
        "features",
        "catalogue.parquet",
        "blend.json",
        "golden",
        "reports",
        "MODEL_CARD.md",
        "DATA_CARD.md",
        "licenses",
    ):
        assert (release / part).exists(), part
    models = {path.name for path in (release / "triton").iterdir()}
    assert {"router", "fusion", "relevance", "ranker", "search"} <= models


def test_every_report_is_a_page(simulated: Path) -> None:
    reports = json.loads((simulated / "summary.json").read_text())["reports"]
    assert {"relevance", "ranking", "drift", "gate", "samples", "features"} <= set(reports)
    for path in reports.values():
        assert "</html>" in Path(path).read_text(encoding="utf-8")[-2000:]


@pytest.mark.parametrize("width", [1280, 420])
def test_every_page_fits_its_screen(simulated: Path, tmp_path: Path, width: int) -> None:
    reports = json.loads((simulated / "summary.json").read_text())["reports"]
    for name, path in reports.items():
        if not name.startswith("evidently"):  # Evidently's own pages are as they come
            layout = measure(Path(path), width, tmp_path / name)
            faults = (layout.page > width, layout.outside, layout.tall, layout.clashes)
            assert not any(faults), f"{name}: {faults}"


def test_judgments_alone_run_the_relevance_half_and_a_key_signs_it(
    archipelago: Archipelago, simulated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judgments = log_of(simulated) / "judgments.parquet"
    private, public = write_keys(tmp_path / "keys")
    monkeypatch.setenv(SIGNING_KEY, str(private))
    monkeypatch.setenv(PUBLIC_KEY, str(public))  # the run's own check serves it by that key
    archipelago("run", "--profile", "tiny", "--judgments", judgments, "--out", tmp_path / "out")
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["ranking"] is None
    assert summary["serving"]["max_abs_diff"] < 1e-4
    release = Path(summary["release"]["path"])
    models = {path.name for path in (release / "triton").iterdir()}
    assert "relevance" in models and "search" not in models
    check_signature(release, public)
    assert list(simulated.glob(f"releases/*/{SIGNATURE}")) == [], "without a key there is none"


def test_a_gate_that_refuses_stops_the_run_with_its_verdict(
    archipelago: Archipelago, simulated: Path, tmp_path: Path
) -> None:
    profile = tmp_path / "strict.yaml"
    profile.write_text("extends: tiny\ngate: {min_relevance_auc: 1.0}\n")
    judgments = log_of(simulated) / "judgments.parquet"
    said = archipelago("run", "--profile", profile, "--judgments", judgments, "--out", tmp_path / "out", code=4)
    assert "gate refused the release: relevance auc" in said and "Traceback" not in said
    assert not (tmp_path / "out" / "releases").exists()
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["gate"]["passed"] is False and summary["release"] is None and summary["serving"] is None
    assert "gate" in summary["reports"]


def _without_column(table: pa.Table) -> pa.Table:
    return table.drop_columns(["price"])


def _unknown_market(table: pa.Table) -> pa.Table:
    return table.set_column(table.column_names.index("market"), "market", pa.array(["XX"] * table.num_rows))


@pytest.mark.parametrize(("change", "says"), [(_without_column, "price"), (_unknown_market, "market")])
def test_bad_input_is_one_line_exit_2_and_nothing_written(
    archipelago: Archipelago, simulated: Path, tmp_path: Path, change: Callable[[pa.Table], pa.Table], says: str
) -> None:
    data = tmp_path / "data"
    shutil.copytree(log_of(simulated), data)
    pq.write_table(change(pq.read_table(data / "items.parquet")), data / "items.parquet")
    said = archipelago("run", "--profile", "tiny", "--data", data, "--out", tmp_path / "out", code=2)
    assert says in said and "items.parquet" in said and "Traceback" not in said
    assert not (tmp_path / "out").exists()
