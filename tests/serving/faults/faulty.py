"""What tests of faults share: real processes, and how long something took."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil

from components.contracts.releases import file_digests, release_digest, sealed
from components.contracts.tools.manifest import MANIFEST, read_manifest, write_json
from serving.local.launcher import Service

PAIR = {"market": "TH", "query": "เคสมือถือ", "title": "เคสโทรศัพท์"}


def reseal(release: Path) -> None:
    """Write a release's manifest anew, so that what lies there now passes for what was built."""
    files = file_digests(release)
    manifest = read_manifest(release) | {"files": files, "digest": release_digest(files)}
    write_json(release / MANIFEST, sealed(manifest))


def addresses(server: "subprocess.Popen[str]") -> dict[str, str]:
    """What `archipelago serve` prints until it is ready, by name."""
    assert server.stdout is not None
    said = {}
    for line in server.stdout:
        if line.strip() == "ready":
            return said
        name, _, value = line.strip().partition(" ")
        said[name] = value
    raise AssertionError(f"it ended with {server.wait()}")


def seconds_until(holds: Callable[[], bool], at_most: float) -> float:
    """How long it took until something held; fails if it does not in time."""
    started = time.monotonic()
    while not holds():
        assert time.monotonic() - started < at_most, f"not within {at_most} s"
        time.sleep(0.05)
    return time.monotonic() - started


def is_ready(service: Service) -> bool:
    try:
        return httpx.get(f"{service.url}/v2/health/ready", timeout=5).is_success
    except httpx.TransportError:
        return False


def relevance_status(service: Service, **changes: str) -> int:
    """Status of one scored pair."""
    tensors = [
        {"name": name, "datatype": "BYTES", "shape": [1], "data": [text]} for name, text in (PAIR | changes).items()
    ]
    answer = httpx.post(f"{service.url}/v2/models/relevance/infer", json={"inputs": tensors}, timeout=60)
    return answer.status_code


def model_process(service: Service, model: str) -> psutil.Process:
    """The process in which Triton runs a Python model."""
    children = psutil.Process(service.pids["triton"]).children(recursive=True)
    running = [child for child in children if child.status() != psutil.STATUS_ZOMBIE]
    return next(child for child in running if f"/{model}/1/" in " ".join(child.cmdline()))
