"""Gathering what a run leaves, and turning failures into messages."""

import logging
from datetime import UTC, datetime
from pathlib import Path

import pytest

from components.contracts.errors import BadInput
from components.contracts.tools.manifest import write_json
from pipelines.choices import Source
from pipelines.profile import load_profile
from pipelines.runner import StepFailed, _artifacts, _quiet_root_logger, _raise_unless_refused, parse_as_of, peak_memory
from pipelines.training_pipeline import build_pipeline


@pytest.mark.parametrize("passed", [None, True, False], ids=["no verdict", "passed", "refused"])
def test_a_refused_release_is_told_from_a_failed_step(tmp_path: Path, passed: bool | None) -> None:
    artifacts = {"verdict": tmp_path / "verdict"} if passed is not None else {}
    for path in artifacts.values():
        write_json(path / "verdict.json", {"passed": passed, "checks": []})
    error = RuntimeError("Inner task failed: \x1b[96m'build-release'\x1b[0m.")
    if passed is False:
        _raise_unless_refused(artifacts, tmp_path, error)
        return
    with pytest.raises(StepFailed, match=r"step build-release failed.*pipeline\.log"):
        _raise_unless_refused(artifacts, tmp_path, error)


@pytest.mark.parametrize("source", ["simulator", "judgments"])
def test_artifacts_are_found_where_the_runner_keeps_them(tmp_path: Path, source: Source) -> None:
    pipeline = build_pipeline(source, load_profile("tiny"))
    made = {"verdict": "gate/verdict", "relevance_model": "train-relevance/model"}
    for folder in made.values():
        (tmp_path / "run-1" / folder).mkdir(parents=True)
    assert _artifacts(pipeline, tmp_path) == {name: tmp_path / "run-1" / path for name, path in made.items()}


@pytest.mark.parametrize("text", ["2026-01-31", "2026-01-31T00:00:00Z", "2026-01-31T07:00:00+07:00"])
def test_as_of_is_utc(text: str) -> None:
    assert parse_as_of(text) == datetime(2026, 1, 31, tzinfo=UTC)


def test_a_bad_as_of_is_refused() -> None:
    with pytest.raises(BadInput, match="ISO 8601"):
        parse_as_of("tomorrow")


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
