"""A pod that ends: both containers are told at once, as a kubelet does, and whoever had asked gets an answer."""

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from serving.local.launcher import serve_release
from serving.local.processes import Kept
from tests.release.tiny_release import Tiny
from tests.serving.faults.faulty import PAIR, is_ready, seconds_until

pytestmark = pytest.mark.slow
BASE = Path(__file__).resolve().parents[3] / "manifests" / "base"
PAIRS = 1000


def pre_stop_seconds(container: dict[str, Any]) -> int:
    return int(container["lifecycle"]["preStop"]["sleep"]["seconds"])


@pytest.fixture(scope="module")
def manifests() -> tuple[dict[str, Any], dict[str, Any], int]:
    """Triton's container, the transformer's, and the pod's grace in seconds."""
    runtime, service = (
        yaml.safe_load((BASE / f"{name}.yaml").read_text()) for name in ("serving-runtime", "inference-service")
    )
    predictor = service["spec"]["predictor"]
    return runtime["spec"]["containers"][0], predictor["containers"][0], predictor["terminationGracePeriodSeconds"]


def test_all_that_was_asked_is_answered(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, manifests: tuple[dict[str, Any], dict[str, Any], int]
) -> None:
    triton, transformer, grace = manifests
    monkeypatch.setattr(Kept, "keep", lambda self: None)  # what ends stays ended, as in a pod that is being deleted
    body = {
        "inputs": [{"name": n, "datatype": "BYTES", "shape": [PAIRS], "data": [t] * PAIRS} for n, t in PAIR.items()]
    }
    statuses: list[int] = []
    with serve_release(tiny.relevance_only, tmp_path / "state") as service, ThreadPoolExecutor(4) as pool:
        seconds_until(lambda: is_ready(service), at_most=20)

        def ask() -> None:
            try:
                answer = httpx.post(f"{service.url}/v2/models/relevance/infer", json=body, timeout=60)
                statuses.append(answer.status_code)
            except httpx.ConnectError:
                refused.set()

        def ask_on() -> None:
            while not refused.is_set():
                ask()

        refused = threading.Event()
        asking = [pool.submit(ask_on) for _ in range(4)]
        time.sleep(1)
        told = time.monotonic()
        timers = [
            threading.Timer(pre_stop_seconds(container), os.kill, (service.pids[name], signal.SIGTERM))
            for name, container in (("triton", triton), ("transformer", transformer))
        ]
        for timer in timers:
            timer.start()
        for each in asking:
            each.result()
        answered = time.monotonic() - told
        for timer in timers:
            timer.join()
        ended = time.monotonic() - told
    print(f"{len(statuses)} answers, the last after {answered:.1f} s; all ended after {ended:.1f} of {grace} s")
    assert len(statuses) > 4
    assert set(statuses) == {200}
    assert pre_stop_seconds(transformer) < answered < pre_stop_seconds(triton)
    assert ended < grace
