"""Gathering what a run leaves, and turning failures into messages."""

import logging
from fnmatch import fnmatch
from pathlib import Path

import pytest

from components.release.notify import WEBHOOK
from pipelines.choices import Source
from pipelines.profile import load_profile
from pipelines.runner import (
    ARTIFACTS,
    StepFailed,
    _artifacts,
    _quiet_root_logger,
    peak_memory,
    run_pipeline,
)
from pipelines.training_pipeline import build_pipeline
from tests.release.webhook import webhook


@pytest.mark.parametrize("source", ["simulator", "log", "judgments"])
def test_artifacts_are_what_steps_leave(source: Source) -> None:
    """Every artifact that a run is asked for is an output of just one step of its pipeline, or of none."""
    spec = build_pipeline(source, load_profile("tiny")).pipeline_spec
    outputs = [
        f"{name.removeprefix('comp-')}/{output}"
        for name, component in spec.components.items()
        if component.executor_label
        for output in component.output_definitions.artifacts
    ]
    made = {name: [o for o in outputs if fnmatch(o, where)] for name, where in ARTIFACTS.items()}
    absent = {"samples", "features", "ranker"} if source == "judgments" else set()
    assert {name for name, found in made.items() if not found} == absent
    assert all(len(found) <= 1 for found in made.values())


def test_artifacts_are_found_where_the_runner_keeps_them(tmp_path: Path) -> None:
    made = {"verdict": "gate/verdict", "relevance_model": "train-relevance/model", "log": "load/log"}
    for folder in made.values():
        (tmp_path / "run-1" / folder).mkdir(parents=True)
    assert _artifacts(tmp_path) == {name: tmp_path / "run-1" / path for name, path in made.items()}


def test_a_failed_step_is_named_and_people_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    profile, told = load_profile("tiny"), []
    with webhook(told) as url:
        monkeypatch.setenv(WEBHOOK, url)
        nothing = tmp_path / "nothing.parquet"
        with pytest.raises(StepFailed, match=r"step find-data failed .*pipeline\.log"):
            run_pipeline("judgments", profile, tmp_path, profile.simulated_as_of, judgments=nothing)
    assert [(message["state"], message["run"][:21]) for message in told] == [("FAILED", "archipelago-relevance")]
    assert "notify-end: say how the run ended" in capsys.readouterr().err


def test_kfps_last_word_is_not_heard(caplog: pytest.LogCaptureFixture) -> None:
    before = logging.getLogger().level
    with _quiet_root_logger():
        logging.info("Cleaned up workspace: /tmp/x")  # as KFP does, through the root logger
        logging.warning("worth a look")
    assert [record.message for record in caplog.records] == ["worth a look"]
    assert logging.getLogger().level == before


def test_peak_memory_sees_an_allocation() -> None:
    with peak_memory(interval_s=0.01) as peak:
        block = bytearray(b"x") * (200 * 2**20)
        import time

        time.sleep(0.2)
        del block
    assert peak[0] > 200
