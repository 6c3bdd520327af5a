"""Serve a release on this machine: Triton and the KServe transformer as two child processes on loopback.

Choices (ours):

- The processes, ports and protocols are a pod's; Triton comes from its wheel, with its CPU configurations.
- Ready means that a real request was answered, not that a health page says so.
- Both processes end with this one, however it ends: the transformer first, when it has answered what was asked.
- One that ends by itself is started anew, after a pause that doubles.
- Nothing is written into the release; all state lies in a folder that may be deleted.
"""

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from components.contracts.releases import ONLINE_STORE, PROCESS_METRICS, check_release
from components.contracts.tools.lock import alone_in
from components.contracts.tools.log import get_logger
from serving import client
from serving.local.processes import LOOPBACK, Child, Kept, ServingFailed, free_ports, require_free, sigterm_as_exit
from serving.local.triton_server import TritonPorts, start_triton, triton_environment
from serving.release import Release, open_release

# A little more than the transformer allows itself for what has been asked (serving.transformer.server).
_DRAIN_S = 35.0
_logger = get_logger(__name__)


@dataclass(frozen=True)
class Service:
    """Where a served release listens: KServe V2 over REST (`url`) and gRPC (`grpc_url`, host:port).

    `triton_url` and `triton_grpc_url` are the server behind it; `pids` its process ids by name.
    """

    url: str
    grpc_url: str
    triton_url: str
    triton_grpc_url: str
    pids: dict[str, int]


@contextmanager
def serve_release(
    release: Path,
    state: Path,
    http_port: int = 0,
    grpc_port: int = 0,
    online: str | None = None,
    workers: int = 1,
    timeout_s: float = 300.0,
    flags: Sequence[str] = (),
) -> Iterator[Service]:
    """Serve a release while the context lasts; both processes have ended when it is left, however it is left.

    Args:
        release: a release folder.
        state: folder for the online store, logs and backends, of one server at a time; each release has its own in it.
        http_port, grpc_port: of the transformer; 0 picks a free one.
        online: address of an online store other than an SQLite file, e.g. ``redis://host:6379``.
        workers: processes of the transformer, which share its ports.
        timeout_s: longest wait for the first real answer.
        flags: more of the transformer's, such as those of its log.

    Raises:
        BadInput: no release, or not as it was built; no Triton on this machine; the folder or a port is in use.
        ServingFailed: a process ended or did not answer in time.
    """
    opened = open_release(release)
    triton_environment()
    check_release(release)
    state.mkdir(parents=True, exist_ok=True)
    with alone_in(state, f"{state}: another server uses this folder; stop it, or name another (--state)"):
        for port in (http_port, grpc_port):
            require_free(port)
        ports = free_ports(5)
        triton = TritonPorts(*ports[:3])
        http_port, grpc_port = http_port or ports[3], grpc_port or ports[4]
        service = Service(
            f"http://{LOOPBACK}:{http_port}",
            f"{LOOPBACK}:{grpc_port}",
            f"http://{LOOPBACK}:{triton.http}",
            f"{LOOPBACK}:{triton.grpc}",
            {},
        )
        folder = state / opened.name
        folder.mkdir(exist_ok=True)
        shutil.rmtree(folder / "logs", ignore_errors=True)  # of a server that has ended
        starts = {
            "triton": lambda: start_triton(opened.repository, folder, triton),
            "transformer": lambda: _start_transformer(
                opened, folder, http_port, grpc_port, triton, online, workers, flags
            ),
        }
        deadline = time.monotonic() + timeout_s
        with sigterm_as_exit(), Kept(starts, service.pids) as kept:
            _wait(lambda: _is_ready(service.triton_url), kept.children, deadline)
            _wait(lambda: _answers(opened, service.url), kept.children, deadline)
            kept.keep()
            _logger.info("release %s answers at %s", opened.name, service.url)
            yield service


def _start_transformer(
    release: Release,
    state: Path,
    http_port: int,
    grpc_port: int,
    triton: TritonPorts,
    online: str | None,
    workers: int,
    flags: Sequence[str],
) -> Child:
    command = [
        sys.executable,
        "-m",
        "serving.transformer",
        f"--release={release.path.resolve()}",
        f"--state={state.resolve()}",
        f"--host={LOOPBACK}",
        f"--http_port={http_port}",
        f"--grpc_port={grpc_port}",
        f"--predictor_host={LOOPBACK}:{triton.grpc}",
        f"--predictor_http={LOOPBACK}:{triton.http}",
        f"--workers={workers}",
        *flags,
    ]
    # Not an argument: an address may hold a password, and arguments are for all to see.
    environment = os.environ | ({ONLINE_STORE: online} if online else {})
    if workers > 1:
        metrics = state / "metrics"
        shutil.rmtree(metrics, ignore_errors=True)
        metrics.mkdir()
        environment[PROCESS_METRICS] = str(metrics.resolve())
    return Child("transformer", command, state / "logs" / "transformer.log", environment, state, grace_s=_DRAIN_S)


def _wait(succeeded: Callable[[], bool], children: Mapping[str, Child], deadline: float) -> None:
    while not succeeded():
        for child in children.values():
            child.check()
        if time.monotonic() > deadline:
            tails = "\n".join(f"{child.log} ends with:\n{child.tail()}" for child in children.values())
            raise ServingFailed(f"the service did not answer in time; {tails}")
        time.sleep(0.1)


def _is_ready(triton_url: str) -> bool:
    try:
        return httpx.get(f"{triton_url}/v2/health/ready", timeout=5).is_success
    except httpx.TransportError:
        return False


def _answers(release: Release, url: str) -> bool:
    """Whether a real request is answered: health alone says nothing about the models' processes."""
    first = release.catalogue().slice(0, 1).to_pylist()[0]
    try:
        client.relevance(url, [first["market"]], [first["title"][:100]], [first["title"]])
        if release.has_search:
            client.search(url, first["market"], "nobody", first["title"][:100], [first["item_id"]])
    except client.Unavailable:
        return False
    return True
