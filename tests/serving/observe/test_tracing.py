"""Traces: the caller's context goes on to other services, a dead collector costs little, no flag costs nothing."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from components.contracts.errors import BadInput
from serving.observe import tracing

ROOT = Path(__file__).resolve().parents[3]
TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Spans go to a port where nobody listens."""
    monkeypatch.setattr(tracing, "_tracer", None)
    monkeypatch.setattr(tracing, "_provider", None)
    tracing.start("http://127.0.0.1:9", "release")
    yield


def test_a_call_within_a_span_carries_it_on(started: None) -> None:
    with tracing.span("request", caller=CALLER):
        with tracing.span("stage"):
            ((name, within),) = tracing.carried() or [("", "")]
        ((_, around),) = tracing.carried() or [("", "")]
    assert name == "traceparent"
    assert within.split("-")[1] == around.split("-")[1] == TRACE
    assert within.split("-")[2] != around.split("-")[2]
    began = time.monotonic()
    tracing.stop()
    assert time.monotonic() - began < 5


def test_without_the_flag_nothing_is_loaded_and_nothing_is_carried() -> None:
    assert isinstance(tracing.span("request", caller=CALLER), nullcontext)
    assert tracing.carried() is None
    code = "import sys, serving.observe.options; print([m for m in sys.modules if m.startswith('opentelemetry')])"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(BadInput, match="extra 'tracing'"):
        tracing.start("http://127.0.0.1:9", "release")
