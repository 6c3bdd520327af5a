"""Serving on this machine's CPU: the stored path, what unseen queries do to it, and three other ways to serve the same.

    python -m tests.bench.bench_serving [--world DIR]

The release is simulated (`serving_world`): real experts, untrained heads. Closed-loop clients in this process ask over
REST unless said otherwise; CPU time is that of all server processes (of the client's too where it does part of the
work), over eight clients, so that background work is in it. Writes tests/bench/results/serving.json.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]
import httpx
import numpy as np
from kserve import InferInput, InferRequest, InferResponse
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub
from kserve.protocol.infer_type import RequestedOutput

from components.contracts.blend import Blend
from components.contracts.features import RELEVANCE_COLUMN, assemble
from components.contracts.markets import market_codes
from components.contracts.text import query_key
from components.contracts.tools.manifest import write_json
from serving.local.launcher import Service, serve_release
from serving.local.processes import LOOPBACK, free_ports
from serving.release import open_release
from serving.transformer.online_store import OnlineFeatures
from tests.bench.load import Asked, Call, Crowd, cpu_s, load, over_http, stored_searches, unseen_searches
from tests.bench.measured import RESULTS, machine
from tests.bench.serving_world import build_world

UNSEEN_CLIENTS = 4
ITEMS = (50, 1000)


def path(connect: Callable[[], Call], pids: Sequence[int], seconds: float) -> dict[str, float]:
    """One client and eight: requests a second, latency, and CPU milliseconds a request."""
    load(connect, 1, 1.0)
    alone = load(connect, 1, seconds)
    before = cpu_s(pids)
    crowd = load(connect, 8, seconds)
    used = cpu_s(pids) - before
    return {
        "p50_ms": alone.ms(50),
        "p99_ms": alone.ms(99),
        "per_second": round(alone.per_second, 1),
        "per_second_8": round(crowd.per_second, 1),
        "p99_8_ms": crowd.ms(99),
        "cpu_ms": round(1000 * used / (len(crowd.latencies_s) + 8), 2),
    }


def isolation(release: Path, url: str, seconds: float) -> dict[str, Any]:
    """Latency of one client's stored searches, alone and beside clients of unseen queries."""
    stored = over_http(url, stored_searches(release, 50, 40))
    load(stored, 1, 1.0)
    alone = load(stored, 1, seconds)
    with Crowd(over_http(url, unseen_searches(release, 50, 500)), UNSEEN_CLIENTS) as crowd:
        beside = load(stored, 1, seconds)
    unseen = crowd.loaded()
    return {
        "alone": {"p50_ms": alone.ms(50), "p99_ms": alone.ms(99)},
        "beside": {"p50_ms": beside.ms(50), "p99_ms": beside.ms(99)},
        "p99_ratio": round(beside.ms(99) / alone.ms(99), 2),
        "unseen": {"p50_ms": unseen.ms(50), "p99_ms": unseen.ms(99), "per_second": round(unseen.per_second, 2)},
    }


class Direct:
    """Asks Triton itself over gRPC: tensors made beforehand, or made for each request by the client (`chained`)."""

    def __init__(self, release: Path, state: Path, grpc_url: str) -> None:
        self._opened = open_release(release)
        self._codes = market_codes(self._opened.markets)
        self._features = OnlineFeatures(state)
        self._blend = Blend.load(release / "blend.json")
        self._url = grpc_url

    def _tensors(self, asked: Asked) -> dict[str, np.ndarray]:
        key = query_key(asked.market, asked.query)
        columns, _ = self._features.read(asked.user_id, self._codes[asked.market], key, asked.item_ids)
        made = assemble(columns)
        return {"numeric": made.numeric, "categorical": made.categorical, "sequences": made.sequences}

    def ready(self, searches: Sequence[Asked]) -> Callable[[], Call]:
        """Triton's `search` alone."""
        prepared = [
            {**self._tensors(asked), "market": np.array([asked.market.encode()], dtype=object)} for asked in searches
        ]
        return self._client(lambda infer: infer("search", random.choice(prepared), ["score"]))

    def chained(self, searches: Sequence[Asked]) -> Callable[[], Call]:
        """Features, ranker and blend put together by the client; nothing unscored, so no expert is asked."""

        def ask(infer: Callable[..., list[np.ndarray]]) -> None:
            asked = random.choice(searches)
            tensors = self._tensors(asked)
            p_click, p_purchase = infer("ranker", tensors, ["p_click", "p_purchase"])
            np.argsort(-self._blend.score(tensors["numeric"][:, RELEVANCE_COLUMN], p_click, p_purchase))

        return self._client(ask)

    def _client(self, ask: Callable[[Callable[..., list[np.ndarray]]], Any]) -> Callable[[], Call]:
        # KServe's own, over a blocking channel: tritonclient cannot be imported beside it.
        types = {"<f4": "FP32", "<i8": "INT64", "|O": "BYTES"}

        def connect() -> Call:
            stub = GRPCInferenceServiceStub(grpc.insecure_channel(self._url))

            def infer(model: str, values: dict[str, np.ndarray], outputs: list[str]) -> list[np.ndarray]:
                inputs = []
                for name, array in values.items():
                    tensor = InferInput(name, list(array.shape), types[array.dtype.str])
                    tensor.set_data_from_numpy(np.ascontiguousarray(array), binary_data=True)
                    inputs.append(tensor)
                asked = InferRequest(model, inputs, request_outputs=[RequestedOutput(name) for name in outputs])
                answer = InferResponse.from_grpc(stub.ModelInfer(asked.to_grpc()))
                return [output.as_numpy() for output in answer.outputs]

            return lambda: ask(infer)

        return connect


@contextmanager
def redis_server(folder: Path) -> Iterator[str | None]:
    """A Redis of our own, or None where there is none."""
    if shutil.which("redis-server") is None:
        yield None
        return
    (port,) = free_ports(1)
    command = ["redis-server", "--port", str(port), "--bind", LOOPBACK, "--save", "", "--dir", str(folder)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        time.sleep(1)
        yield f"redis://{LOOPBACK}:{port}"
    finally:
        server.terminate()
        server.wait()


@contextmanager
def kserve_alone(release: Path, state: Path) -> Iterator[tuple[str, int]]:
    """URL and process of the KServe Python server, once it answers."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "tests.bench.kserve_alone", f"--release={release}", f"--state={state}"]
    # What it says of an error is seen where the measurement is; what it says of each request is not.
    server = subprocess.Popen([*command, f"--http_port={port}"], stdout=subprocess.DEVNULL)
    url = f"http://{LOOPBACK}:{port}"
    try:
        end = time.monotonic() + 180
        while True:
            try:
                httpx.get(f"{url}/v2/models/search/ready", timeout=5).raise_for_status()
                break
            except httpx.HTTPError:
                if time.monotonic() > end or server.poll() is not None:
                    raise
                time.sleep(0.5)
        yield url, server.pid
    finally:
        server.terminate()
        server.wait()


def measure(release: Path, scratch: Path, seconds: float) -> dict[str, Any]:
    """Everything, in one run."""
    result: dict[str, Any] = {
        "command": "python -m tests.bench.bench_serving",
        "machine": machine(),
        "load_average": round(os.getloadavg()[0], 1),
        "simulated": True,
        "stores": {},
        "ways": {},
    }
    searches = {items: stored_searches(release, items, 40) for items in ITEMS}

    def ours(service: Service) -> dict[str, Any]:
        pids = list(service.pids.values())
        return {str(items): path(over_http(service.url, searches[items]), pids, seconds) for items in ITEMS}

    with ExitStack() as stack:
        address = stack.enter_context(redis_server(scratch))
        if address:
            with serve_release(release, scratch / "redis", online=address) as service:
                result["stores"]["Redis"] = ours(service)
        state = scratch / "sqlite"
        with serve_release(release, state) as service:
            result["stores"]["SQLite"] = ours(service)
            result["isolation"] = isolation(release, service.url, 3 * seconds)
            direct = Direct(release, state / release.name, service.triton_grpc_url)
            triton = [service.pids["triton"]]
            result["ways"]["Triton alone, tensors ready (gRPC)"] = path(direct.ready(searches[50]), triton, seconds)
            client = [*triton, os.getpid()]
            result["ways"]["the client chains the calls (gRPC)"] = path(direct.chained(searches[50]), client, seconds)
        with serve_release(release, state, workers=2) as service:
            pids = list(service.pids.values())
            result["ways"]["ours, two workers"] = path(over_http(service.url, searches[50]), pids, seconds)
        with kserve_alone(release, scratch / "alone") as (url, pid):
            result["ways"]["KServe's Python server alone"] = path(over_http(url, searches[50]), [pid], seconds)
    result["ways"] = {"ours": result["stores"]["SQLite"]["50"], **result["ways"]}
    return result


def main() -> None:
    """Measure, keep and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--world", type=Path, help="folder of the release, built there if it is not [default: anew]")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-serving-") as scratch:
        release = build_world(arguments.world or Path(scratch) / "world")
        result = measure(release.resolve(), Path(scratch), arguments.seconds)
    write_json(RESULTS / "serving.json", result)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
