"""The training pipeline whose every step runs in its role's image."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from components.contracts.tools.manifest import read_manifest
from pipelines.profile import load_profile
from pipelines.runner import StepFailed, run_pipeline

pytestmark = [pytest.mark.containers, pytest.mark.timeout(1800)]


def test_training_pipeline_runs_in_the_images(images: Mapping[str, str], tmp_path: Path) -> None:
    profile = load_profile("tiny")
    run = run_pipeline("simulator", profile, tmp_path / "run", profile.simulated_as_of, runner="docker")
    assert read_manifest(run.artifacts["log"])["simulated"]
    assert read_manifest(run.artifacts["release"])["digest"]
    assert (run.artifacts["drift"] / "reports" / "drift.html").is_file()


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
