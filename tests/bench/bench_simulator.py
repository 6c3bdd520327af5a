"""How fast the simulator makes a large log of two worlds (Parquet and report included), and at what peak memory.

    python -m tests.bench.bench_simulator [--world laptop|entire-space]

Writes simulator.json (the laptop's kind of world) and simulator-entire-space.json in tests/bench/results. Baselines are
the project's targets. Each world is made in a process of its own, whose peak memory is its alone.
"""

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from components.contracts.tools.manifest import read_manifest, write_json
from components.marketplace.config import MarketplaceConfig
from components.marketplace.simulator.simulate import simulate
from pipelines.profile import load_profile
from tests.bench.measured import RESULTS, machine


@dataclass(frozen=True)
class Target:
    """So many rows of a table, of a world that makes at least as many, in so many seconds."""

    config: MarketplaceConfig
    table: str
    rows: int
    seconds: float
    result: str


TARGETS = {
    # Six markets as the laptop's with more users and about seventeen times the requests.
    "laptop": Target(
        MarketplaceConfig(users=7000, search_requests=34_000, rec_requests=20_000, shop_requests=13_500),
        "events", 1_000_000, 20.0, "simulator",
    ),
    "entire-space": Target(
        load_profile("entire-space").marketplace.scaled(13.5), "candidates", 10_000_000, 180.0, "simulator-entire-space"
    ),
}  # fmt: skip


def measure(world: str) -> dict[str, object]:
    """Simulate once, in this process, and say how it went."""
    aim = TARGETS[world]
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "log"
        wall, processor = time.perf_counter(), time.process_time()
        simulate(aim.config, datetime(2026, 3, 1, tzinfo=UTC), out)
        seconds, cpu_seconds = time.perf_counter() - wall, time.process_time() - processor
        manifest = read_manifest(out)
    made = manifest["metrics"]["rows"][aim.table]
    assert made >= aim.rows, f"{made} {aim.table} are not {aim.rows}"
    return {
        "command": f"python -m tests.bench.bench_simulator --world {world}",
        "machine": machine(),
        # What else ran: wall seconds mean little on a machine that is busy.
        "load_average": round(load, 1),
        "simulated": True,
        "rows": manifest["metrics"]["rows"],
        "figure": {
            aim.table: made,
            f"{aim.table}_per_second": round(made / seconds),
            "seconds": round(seconds, 2),
            "cpu_seconds": round(cpu_seconds, 2),
            "peak_rss_mb": manifest["run"]["peak_rss_mb"],
        },
        "baseline": {
            "what": f"target: {aim.rows // 1_000_000} million {aim.table} in {aim.seconds:g} s",
            f"{aim.table}_per_second": round(aim.rows / aim.seconds),
        },
        "ratio": round(made / seconds / (aim.rows / aim.seconds), 2),
    }


def main() -> None:
    """Measure, keep and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--world", choices=list(TARGETS), help="one of them alone")
    chosen = parser.parse_args().world
    for world in [chosen] if chosen else TARGETS:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            result = pool.submit(measure, world).result()
        write_json(RESULTS / f"{TARGETS[world].result}.json", result)
        print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
