"""Whether a served release keeps to what it holds: memory, open files, shared memory, while clients ask for everything.

    python -m tests.bench.soak [--release RELEASE] [--seconds 600]

Without a release, one of tiny random experts is made. Clients ask one after the other, each its kind: stored searches,
searches of unseen queries, relevance of pairs, requests that are refused, posted events; the serving log is on. Twice a
second the service's processes are looked at. What they hold in the last quarter of the time is compared with the second
quarter; the first is warm-up. Users and queries are simulated. Writes tests/bench/results/soak.json.
"""

import argparse
import itertools
import json
import os
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pyarrow.parquet as pq

from components.contracts.tools.manifest import write_json
from serving.local.launcher import Service, serve_release
from tests.bench.measured import RESULTS, machine
from tests.release.tiny_release import AS_OF, CONFIG, write_inputs

KEY = "the key of a measurement: nobody's users"
PERIOD_S = 0.5
Ask = Callable[[httpx.Client], httpx.Response]
Sample = dict[str, float]


@contextmanager
def release_to_serve(named: Path | None) -> Iterator[Path]:
    """The named release, or a tiny one for as long as the context lasts."""
    if named:
        yield named
        return
    from components.release.build import build_release

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "inputs").mkdir()
        inputs = write_inputs(Path(folder) / "inputs")
        yield build_release(inputs.relevance, inputs.ranking, CONFIG, AS_OF, Path(folder) / "releases")


def askers(service: Service, release: Path) -> dict[str, Ask]:
    """What each client asks, over and over."""
    golden = pq.read_table(release / "golden" / "search.parquet").to_pandas()
    stored = [rows for _, rows in golden[golden["kind"] == "stored"].groupby("request")]
    turn, numbers = itertools.cycle(stored), itertools.count()

    def infer(http: httpx.Client, model: str, **texts: list[str]) -> httpx.Response:
        tensors = [{"name": n, "shape": [len(v)], "datatype": "BYTES", "data": v} for n, v in texts.items()]
        return http.post(f"{service.url}/v2/models/{model}/infer", json={"inputs": tensors})

    def search(http: httpx.Client, query: str = "", user: str = "") -> httpx.Response:
        rows = next(turn)
        first = rows.iloc[0]
        texts = {"market": [first["market"]], "user_id": [user or first["user_id"]], "query": [query or first["query"]]}
        return infer(http, "search", **texts, item_ids=rows["item_id"].tolist())

    def event(http: httpx.Client) -> httpx.Response:
        first = next(turn).iloc[0]
        clicked = {"type": "click", "user_id": f"user-{next(numbers) % 1000}", "item_id": first["item_id"]}
        return http.post(f"{service.url}/v1/events", json={"events": [clicked]})

    pairs = {name: golden[name].tolist()[:8] for name in ("market", "query")}
    return {
        "stored": lambda http: search(http),
        "unseen": lambda http: search(http, f"query {next(numbers)}", f"user {next(numbers)}"),
        "relevance": lambda http: infer(http, "relevance", **pairs, title=pairs["query"]),
        "refused": lambda http: infer(http, "search", market=[f"nowhere {next(numbers)}"]),
        "event": event,
    }


def ask_until(end: float, ask: Ask) -> Counter[int]:
    """Ask until a moment; how many answers there were of each status."""
    statuses: Counter[int] = Counter()
    with httpx.Client(timeout=60) as http:
        while time.monotonic() < end:
            statuses[ask(http).status_code] += 1
    return statuses


def sample(service: Service) -> Sample:
    """What the service holds now: memory of its own in MiB, descriptors and threads, MiB and regions in /dev/shm."""
    held: Sample = {}
    for name, pid in service.pids.items():
        tree = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        held[f"{name}_mib"] = sum(process.memory_full_info().uss for process in tree) / 2**20
        held[f"{name}_descriptors"] = sum(process.num_fds() for process in tree)
        held[f"{name}_threads"] = sum(process.num_threads() for process in tree)
    regions = list(Path("/dev/shm").glob(f"archipelago_{os.getpid()}_*"))
    held["shared_memory_mib"] = sum(region.stat().st_size for region in regions) / 2**20
    held["shared_memory_regions"] = len(regions)
    return held


def growth(samples: list[Sample]) -> dict[str, dict[str, float]]:
    """Median of each figure in the second and in the last quarter of the samples."""
    quarter = len(samples) // 4
    parts = {"second_quarter": samples[quarter : 2 * quarter], "last_quarter": samples[-quarter:]}
    return {
        name: {part: round(statistics.median(s[name] for s in held), 1) for part, held in parts.items()}
        for name in samples[0]
    }


def measure(release: Path, seconds: float) -> dict[str, Any]:
    """Serve, ask and watch."""
    load = os.getloadavg()[0]
    os.environ.setdefault("ARCHIPELAGO_LOG_KEY", KEY)
    with tempfile.TemporaryDirectory() as folder:
        flags = [f"--log_folder={folder}/log"]
        with serve_release(release, Path(folder) / "state", flags=flags) as service, ThreadPoolExecutor() as pool:
            end = time.monotonic() + seconds
            asking = {name: pool.submit(ask_until, end, ask) for name, ask in askers(service, release).items()}
            samples, pause = [], threading.Event()
            while time.monotonic() < end:
                samples.append(sample(service))
                pause.wait(PERIOD_S)
            answers = {name: dict(sorted(asked.result().items())) for name, asked in asking.items()}
    return {
        "command": "python -m tests.bench.soak --seconds 600",
        "machine": machine(),
        "load_average": round(load, 1),
        "simulated": True,
        "seconds": seconds,
        "samples": len(samples),
        "answers": {name: {str(status): count for status, count in each.items()} for name, each in answers.items()},
        "held": growth(samples),
    }


def main() -> None:
    """Measure, keep and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--release", type=Path, help="a search release [default: tiny random experts]")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--out", type=Path, default=RESULTS / "soak.json")
    arguments = parser.parse_args()
    with release_to_serve(arguments.release) as release:
        result = measure(release, arguments.seconds)
    write_json(arguments.out, result)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
