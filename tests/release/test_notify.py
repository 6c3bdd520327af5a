"""How people are told of a run's end and of a refusal."""

import logging
from pathlib import Path
from typing import Any

import pytest

from components.contracts.errors import BadInput
from components.contracts.tools.manifest import write_json
from components.release.notify import WEBHOOK, NotTold, tell_end, tell_refusal
from tests.release.webhook import webhook


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Any:
    messages: list[dict[str, Any]] = []
    with webhook(messages) as url:
        monkeypatch.setenv(WEBHOOK, url)
        yield messages


@pytest.mark.parametrize(
    ("state", "error", "text"),
    [("SUCCEEDED", None, "run-1: succeeded"), ("FAILED", "no memory", "run-1: failed: no memory")],
)
def test_the_end_of_a_run_is_told_with_its_reason(told: Any, state: str, error: str | None, text: str) -> None:
    tell_end("run-1", state, error)
    assert told == [{"text": text, "run": "run-1", "state": state}]


def test_a_refusal_is_told_with_the_checks_that_failed(told: Any, tmp_path: Path) -> None:
    checks = [{"passed": True, "why": "ID holds"}, {"passed": False, "why": "TH is below"}]
    write_json(tmp_path / "verdict.json", {"passed": False, "checks": checks})
    tell_refusal("run-1", tmp_path)
    assert told[0]["text"] == "run-1: the quality gate refused the release: TH is below"
    assert told[0]["state"] == "REFUSED"


def test_without_a_webhook_the_log_tells(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.delenv(WEBHOOK, raising=False)
    with caplog.at_level(logging.INFO):
        tell_end("run-1", "SUCCEEDED", None)
    assert caplog.messages == ["run-1: succeeded"]


@pytest.mark.parametrize("status", [403, 500])
def test_a_webhook_that_refuses_is_named_without_its_path(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    with webhook([], status) as url:
        monkeypatch.setenv(WEBHOOK, url)
        with pytest.raises(NotTold, match=r"webhook at 127\.0\.0\.1") as error:
            tell_end("run-1", "FAILED", None)
    assert "T0KEN" not in str(error.value)


@pytest.mark.parametrize("address", ["file:///etc/passwd", "hooks.example", "https://"])
def test_what_is_no_address_is_refused(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv(WEBHOOK, address)
    with pytest.raises(BadInput, match=WEBHOOK):
        tell_end("run-1", "FAILED", None)
