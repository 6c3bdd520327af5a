"""What a person sees of a run while it goes on."""

import io

import pytest

from pipelines import step_output
from pipelines.profile import load_profile
from pipelines.step_output import STEPS, StepOutput
from pipelines.training_pipeline import build_pipeline

START = "12:00:00 - INFO - Executing task \x1b[96m'encode'\x1b[0m"
SUCCESS = "12:00:01 - INFO - Task \x1b[96m'encode'\x1b[0m finished with status \x1b[92mSUCCESS\x1b[0m"
FAILURE = SUCCESS.replace("SUCCESS", "FAILURE")


def message(text: str) -> str:
    return f"    [KFP Executor 2026-01-01 00:00:00,1 INFO]: {text}"


def shown(capsys: pytest.CaptureFixture[str], *lines: str) -> tuple[list[str], StepOutput, str]:
    log = io.StringIO()
    with StepOutput(log, 9) as output:
        for line in lines:
            print(line, file=output)
        logged = log.getvalue()
    return [line.split(" ", 1)[1] for line in capsys.readouterr().err.splitlines()], output, logged


def test_a_step_is_announced_in_plain_words_and_timed(capsys: pytest.CaptureFixture[str]) -> None:
    said, output, _ = shown(capsys, START, message("encoded 12 pairs"), SUCCESS)
    assert said[:2] == [f"[1/9] encode: {STEPS['encode']}", "      encoded 12 pairs"]
    assert said[2].strip().startswith("done in") and len(said) == 3
    assert list(output.seconds) == ["encode"]


def test_a_step_that_fails_or_is_refused_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    said, _, _ = shown(capsys, START, FAILURE)
    assert said[1].strip().startswith("stopped after")


@pytest.mark.parametrize(
    "line",
    [
        message("Got executor_input:"),
        message("Looking for component `encode` in --component_module_path `/tmp/x.py`"),
        message('Loading KFP component "encode" from /tmp/x.py'),
        message("Wrote executor output file to /tmp/x.json."),
        message("Registry file not found. Creating new registry."),
        message("Registry cache expired, so refreshing"),
        '    {"inputs": 1}',
        "    Converting and de-quantizing GGUF tensors...:   0%|          | 0/236 [00:00<?, ?it/s]",
        "    /usr/lib/python3/site-packages/x.py:12: UserWarning: something is deprecated",
        "12:00:01 - INFO - Task \x1b[96m'encode'\x1b[0m outputs:",
        "-" * 80,
    ],
)
def test_chatter_is_in_the_log_alone(capsys: pytest.CaptureFixture[str], line: str) -> None:
    said, _, logged = shown(capsys, START, line, SUCCESS)
    assert len(said) == 2
    assert line in logged


def test_progress_is_told_now_and_then(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 1000, 4))
    monkeypatch.setattr(step_output.time, "perf_counter", lambda: float(next(clock)))
    monkeypatch.setattr(step_output, "_EVERY_S", 10.0)
    said, _, _ = shown(capsys, START, *(message(f"encode 2048 texts: {done}/8") for done in range(1, 9)), SUCCESS)
    told = [line for line in said if "encode 2048 texts" in line]
    assert 2 <= len(told) <= 4 and all(line.endswith(" %") or line.endswith("%") for line in told)


def test_progress_is_a_bar_on_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    log = io.StringIO()
    with StepOutput(log, 9) as output:
        for line in (START, message("encode 2048 texts: 3/8"), message("half of it"), SUCCESS):
            print(line, file=output)
    said = capsys.readouterr().err
    assert "half of it" in said and "done in" in said
    assert "half of it" in log.getvalue() and "encode 2048" in log.getvalue()


@pytest.mark.parametrize("source", ["simulator", "log", "judgments"])
def test_every_step_of_a_pipeline_says_what_it_does(source) -> None:
    executors = build_pipeline(source, load_profile("tiny")).pipeline_spec.deployment_spec["executors"]
    assert {name.removeprefix("exec-") for name in executors} <= set(STEPS)
