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
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import httpx

from components.contracts.errors import BadInput
from components.contracts.releases import ONLINE_STORE, PROCESS_METRICS, check_release, check_versions
from components.contracts.signature import check_signature
from components.contracts.tools.lock import alone_in
from components.contracts.tools.log import get_logger
from serving import client
from serving.local.processes import LOOPBACK, Child, Kept, ServingFailed, free_ports, require_free, sigterm_as_exit
from serving.local.traffic import no_canary, write_percent
from serving.local.triton_server import TritonPorts, start_triton, triton_environment
from serving.release import Release, open_release

# A little more than the transformer allows itself for what has been asked (serving.transformer.server).
_DRAIN_S = 35.0
_logger = get_logger(__name__)


@dataclass(frozen=True)
class Service:
    """Where a served release listens: KServe V2 over REST (`url`) and gRPC (`grpc_url`, host:port).

    `triton_url` and `triton_grpc_url` are the server behind it; `pids` its process ids by name. `sides` are the
    addresses of each release's own service; where two are served, `url` and `grpc_url` are those of the front.
    """

    url: str
    grpc_url: str
    triton_url: str
    triton_grpc_url: str
    pids: dict[str, int]
    sides: dict[str, str]


@dataclass(frozen=True)
class _Side:
    """One release, and the ports of its two processes."""

    release: Release
    triton: TritonPorts
    http: int
    grpc: int

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.http}"


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
    canary: tuple[Path, float] | None = None,
    public_key: Path | None = None,
) -> Iterator[Service]:
    """Serve a release while the context lasts; all processes have ended when it is left, however it is left.

    Args:
        release: a release folder.
        state: folder for the online store, logs and backends, of one server at a time; each release has its own in it.
        http_port, grpc_port: of the service; 0 picks a free one.
        online: address of an online store other than an SQLite file, e.g. ``redis://host:6379``.
        workers: processes of the transformer, which share its ports.
        timeout_s: longest wait for the first real answer.
        flags: more of the transformer's, such as those of its log.
        canary: another release to serve beside it, and the percent of users that it serves at first (`traffic`).
        public_key: PEM file of who must have signed what is served; None serves any release.

    Raises:
        BadInput: no release, or not as it was built, or not signed as asked; no Triton on this machine; the folder or a
            port is in use.
        ServingFailed: a process ended or did not answer in time.
    """
    opened = [open_release(path) for path in (release, *([canary[0]] if canary else []))]
    if len({each.name for each in opened}) < len(opened):
        raise BadInput(f"{release}: the same release twice; a canary is another one")
    triton_environment()
    for each in opened:
        if public_key:  # before Triton runs any of its code
            check_signature(each.path, public_key)
        check_versions(each.path)
        check_release(each.path)
    state.mkdir(parents=True, exist_ok=True)
    with alone_in(state, f"{state}: another server uses this folder; stop it, or name another (--state)"):
        for port in (http_port, grpc_port):
            require_free(port)
        ports = iter(free_ports(2 + 5 * len(opened)))
        http_port, grpc_port = http_port or next(ports), grpc_port or next(ports)
        sides = [_Side(each, *_ports(ports)) for each in opened]
        if canary:
            write_percent(state, canary[1])
        else:
            no_canary(state)
            sides = [replace(sides[0], http=http_port, grpc=grpc_port)]
        starts: dict[str, Callable[[], Child]] = {}
        for prefix, side in zip(("", "canary "), sides, strict=False):
            folder = state / side.release.name
            folder.mkdir(exist_ok=True)
            shutil.rmtree(folder / "logs", ignore_errors=True)  # of a server that has ended
            starts[f"{prefix}triton"] = partial(start_triton, side.release.repository, folder, side.triton)
            starts[f"{prefix}transformer"] = partial(_start_transformer, side, folder, online, workers, flags)
        if canary:
            starts["front"] = partial(_start_front, state, http_port, grpc_port, sides)
        service = Service(
            f"http://{LOOPBACK}:{http_port}",
            f"{LOOPBACK}:{grpc_port}",
            f"http://{LOOPBACK}:{sides[0].triton.http}",
            f"{LOOPBACK}:{sides[0].triton.grpc}",
            {},
            {side.release.name: side.url for side in sides},
        )
        deadline = time.monotonic() + timeout_s
        with sigterm_as_exit(), Kept(starts, service.pids) as kept:
            for side in sides:
                url = f"http://{LOOPBACK}:{side.triton.http}"
                _wait(partial(_is_ready, url), kept.children, deadline)
                _wait(partial(_answers, side.release, side.url), kept.children, deadline)
            _wait(partial(_is_ready, service.url), kept.children, deadline)
            kept.keep()
            _logger.info("release %s answers at %s", " and ".join(service.sides), service.url)
            yield service


def _ports(free: Iterator[int]) -> tuple[TritonPorts, int, int]:
    return TritonPorts(next(free), next(free), next(free)), next(free), next(free)


def _start_front(state: Path, http_port: int, grpc_port: int, sides: Sequence[_Side]) -> Child:
    command = [sys.executable, "-m", "serving.local.front", f"--state={state.resolve()}"]
    command += [f"--http_port={http_port}", f"--grpc_port={grpc_port}"]
    command += [f"--side={side.release.name}:{side.http}:{side.grpc}" for side in sides]
    return Child("front", command, state / "front.log", os.environ, state, grace_s=_DRAIN_S)


def _start_transformer(side: _Side, state: Path, online: str | None, workers: int, flags: Sequence[str]) -> Child:
    command = [
        sys.executable,
        "-m",
        "serving.transformer",
        f"--release={side.release.path.resolve()}",
        f"--state={state.resolve()}",
        f"--host={LOOPBACK}",
        f"--http_port={side.http}",
        f"--grpc_port={side.grpc}",
        f"--predictor_host={LOOPBACK}:{side.triton.grpc}",
        f"--predictor_http={LOOPBACK}:{side.triton.http}",
        f"--workers={workers}",
        *flags,
    ]
    # Not an argument: an address may hold a password, and arguments are for all to see.
    environment = os.environ | ({ONLINE_STORE: online} if online else {})
    # Feast names a folder of its own when it is imported: services started from one process would count in it together.
    environment.pop(PROCESS_METRICS, None)
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
