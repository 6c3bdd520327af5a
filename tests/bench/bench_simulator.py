"""How fast the simulator makes a million events (Parquet and report included), and at what peak memory.

    python -m tests.bench.bench_simulator [--out DIRECTORY]

Writes tests/bench/results/simulator.json. The baseline is the project's target: a million events in 20 seconds.
"""

import argparse
import json
import os
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from components.contracts.tools.manifest import read_manifest, write_json
from components.marketplace.config import MarketplaceConfig
from components.marketplace.simulator.simulate import simulate
from tests.bench.measured import RESULTS, machine

TARGET_EVENTS, TARGET_SECONDS = 1_000_000, 20.0
# The laptop's six markets with more users and about seventeen times the requests.
CONFIG = MarketplaceConfig(users=7000, search_requests=34_000, rec_requests=20_000, shop_requests=13_500)


def measure(out: Path) -> dict[str, object]:
    """Simulate once into `out`, in this process, and say how it went."""
    load = os.getloadavg()[0]
    wall, processor = time.perf_counter(), time.process_time()
    simulate(CONFIG, datetime(2026, 3, 1, tzinfo=UTC), out)
    seconds, cpu_seconds = time.perf_counter() - wall, time.process_time() - processor
    manifest = read_manifest(out)
    events = manifest["metrics"]["rows"]["events"]
    assert events >= TARGET_EVENTS, f"{events} events are not a million"
    target = TARGET_EVENTS / TARGET_SECONDS
    return {
        "command": "python -m tests.bench.bench_simulator",
        "machine": machine(),
        # What else ran: wall seconds mean little on a machine that is busy.
        "load_average": round(load, 1),
        "simulated": True,
        "rows": manifest["metrics"]["rows"],
        "figure": {
            "events_per_second": round(events / seconds),
            "seconds": round(seconds, 2),
            "cpu_seconds": round(cpu_seconds, 2),
            "peak_rss_mb": manifest["run"]["peak_rss_mb"],
        },
        "baseline": {"what": "target: a million events in 20 s", "events_per_second": target},
        "ratio": round(events / seconds / target, 2),
    }


def main() -> None:
    """Measure, keep and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="keep the simulated log here")
    out = parser.parse_args().out
    with tempfile.TemporaryDirectory() as folder:
        result = measure(out or Path(folder) / "log")
    write_json(RESULTS / "simulator.json", result)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
