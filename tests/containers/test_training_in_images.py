"""The training pipeline whose every step runs in its role's image."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pytest

from components.contracts.tools.manifest import read_manifest
from pipelines.profile import load_profile
from pipelines.runner import Run, StepFailed, run_pipeline

pytestmark = [pytest.mark.containers, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def simulated(images: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Run:
    profile = load_profile("tiny")
    out = tmp_path_factory.mktemp("simulated") / "run"
    return run_pipeline("simulator", profile, out, profile.simulated_as_of, runner="docker")


def test_training_pipeline_runs_in_the_images(simulated: Run) -> None:
    assert read_manifest(simulated.artifacts["log"])["simulated"]
    assert read_manifest(simulated.artifacts["release"])["digest"]
    assert (simulated.artifacts["drift"] / "reports" / "drift.html").is_file()


def test_judgments_alone_run_in_the_images(simulated: Run, tmp_path: Path) -> None:
    """Drift, gate and release go without a ranker: an optional input that is absent reaches a container as None."""
    profile, judgments = load_profile("tiny"), simulated.artifacts["log"] / "judgments.parquet"
    run = run_pipeline(
        "judgments", profile, tmp_path / "run", profile.simulated_as_of, judgments=judgments, runner="docker"
    )
    (release,) = (path for path in run.artifacts["release"].iterdir() if path.is_dir())
    assert read_manifest(release)["kind"] == "relevance-release"
    assert "ranker" not in run.artifacts


def test_the_laptops_experts_run_in_the_default_images(images: Mapping[str, str], tmp_path: Path) -> None:
    """The image of training holds the weights that the default profile names, and all that reads them.

    As little as makes two folds: four queries of one market. Most of the time goes into unpacking Gemma's weights. The
    gate's budget is one parameter, so that nothing is exported.
    """
    small, laptop = load_profile("tiny"), load_profile("laptop").relevance
    own = {"experts": laptop.experts, "texts": laptop.texts, "variants": laptop.variants[:1], "epochs": 1}
    relevance = small.relevance.model_copy(update=own)
    gate = small.gate.model_copy(update={"max_active_parameters": 1})
    profile = small.model_copy(update={"relevance": relevance, "gate": gate, "markets": ("TH",)})
    queries = ("running shoes", "cotton shirt", "phone case", "rice cooker")
    titles = [f"{colour} {query}" for query in queries for colour in ("red", "blue")]
    rows = [
        {"query_id": query, "market": "TH", "query": query, "item_id": title, "title": title, "grade": query in title}
        for query in queries
        for title in titles
    ]
    pd.DataFrame(rows).astype({"grade": float}).to_parquet(tmp_path / "judgments.parquet")
    run = run_pipeline(
        "judgments",
        profile,
        tmp_path / "run",
        profile.simulated_as_of,
        judgments=tmp_path / "judgments.parquet",
        runner="docker",
    )
    scored = read_manifest(run.artifacts["relevance_model"])["metrics"]["relevance"]
    assert {expert.name for expert in laptop.experts} <= scored.keys()
    assert "release" not in run.artifacts


def test_a_step_that_refuses_its_input_stops_the_pipeline(images: Mapping[str, str], tmp_path: Path) -> None:
    judgments = tmp_path / "judgments.csv"
    judgments.write_text("market,query,title\nTH,shoes,red shoes\n")
    profile = load_profile("tiny")
    with pytest.raises(StepFailed, match="load"):
        run_pipeline(
            "judgments",
            profile,
            tmp_path / "run",
            profile.simulated_as_of,
            judgments=judgments,
            runner="docker",
        )
    assert "grade" in (tmp_path / "run" / "pipeline.log").read_text()
