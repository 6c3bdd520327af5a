"""The training pipeline whose every step runs in its role's image."""

from collections.abc import Mapping
from pathlib import Path

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


def test_judgments_alone_run_in_the_images_with_the_laptops_experts(simulated: Run, tmp_path: Path) -> None:
    """The default image of training holds the weights that the default profile names, and what reads and exports them.

    Drift, gate and release go without a ranker: an optional input that is absent reaches a container as None.
    """
    small, laptop = load_profile("tiny"), load_profile("laptop").relevance
    relevance = small.relevance.model_copy(update={"experts": laptop.experts, "texts": laptop.texts})
    profile = small.model_copy(update={"relevance": relevance})
    judgments = simulated.artifacts["log"] / "judgments.parquet"
    run = run_pipeline(
        "judgments", profile, tmp_path / "run", profile.simulated_as_of, judgments=judgments, runner="docker"
    )
    (release,) = (path for path in run.artifacts["release"].iterdir() if path.is_dir())
    assert read_manifest(release)["kind"] == "relevance-release"
    assert [expert["name"] for expert in read_manifest(release)["experts"]] == [each.name for each in laptop.experts]
    assert "ranker" not in run.artifacts


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
