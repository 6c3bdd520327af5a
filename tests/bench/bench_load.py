"""How fast a user's log is read, checked and rid of rows that contradict others, and at what peak memory.

    python -m tests.bench.bench_load

A simulated log of a million candidates, in which one event of a hundred comes before its request. The baseline asks the
same of the events one row at a time, in Python.
"""

import multiprocessing
import os
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.contracts.tables import Limits, read_log
from components.contracts.tools.manifest import write_json
from components.marketplace.config import MarketplaceConfig
from components.marketplace.logs.contradictions import drop_contradictions
from components.marketplace.simulator.simulate import simulate
from tests.bench.measured import RESULTS, machine

_AS_OF = datetime(2026, 3, 1, tzinfo=UTC)
_WORLD = MarketplaceConfig(users=2000, search_requests=6000, rec_requests=3000, shop_requests=2000)


def spoil(log: Path) -> None:
    """Every hundredth event comes a month before its request."""
    events = pq.read_table(log / "events.parquet")
    early = pc.equal(pc.bit_wise_and(pa.array(range(events.num_rows)), 127), 0)
    times = events["timestamp"].cast(pa.int64())
    moved = pc.if_else(early, pc.subtract(times, 30 * 86_400_000_000), times).cast(events["timestamp"].type)
    at = events.schema.get_field_index("timestamp")
    pq.write_table(events.set_column(at, "timestamp", moved), log / "events.parquet")


def measure(log: Path) -> dict[str, object]:
    """Load once, in this process, and say how it went."""
    start = time.perf_counter()
    tables = read_log(log, Limits(_WORLD.markets, _AS_OF))
    read = time.perf_counter()
    _, dropped = drop_contradictions(tables)
    done = time.perf_counter()
    peak_rss_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    row_by_row = _one_at_a_time({name: tables[name] for name in ("requests", "candidates", "events")})
    rows = {name: table.num_rows for name, table in tables.items()}
    per_second = rows["events"] / (done - read)
    return {
        "command": "python -m tests.bench.bench_load",
        "machine": machine(),
        "load_average": round(os.getloadavg()[0], 1),
        "simulated": True,
        "rows": rows,
        "figure": {
            "read_and_check_seconds": round(read - start, 2),
            "contradictions_seconds": round(done - read, 2),
            "events_per_second": round(per_second),
            "events_dropped": sum(part.rows for part in dropped),
            "peak_rss_mb": round(peak_rss_mb, 1),
        },
        "baseline": {"what": "the events' rules one row at a time, in Python", "events_per_second": round(row_by_row)},
        "ratio": round(per_second / row_by_row, 2),
    }


def _one_at_a_time(tables: dict[str, pa.Table]) -> float:
    """Events a second, what they are compared with looked up in dictionaries (which are made in that time, too)."""
    start = time.perf_counter()
    requests = {row["request_id"]: row for row in tables["requests"].to_pylist()}
    shown = {(row["request_id"], row["item_id"]): row["position"] for row in tables["candidates"].to_pylist()}
    at_fault = 0
    for event in tables["events"].to_pylist():
        request = requests.get(event["request_id"])
        at_fault += request is not None and (
            event["user_id"] != request["user_id"]
            or event["domain"] != request["domain"]
            or shown.get((event["request_id"], event["item_id"])) is None
            or event["timestamp"] < request["timestamp"]
        )
    assert at_fault
    return tables["events"].num_rows / (time.perf_counter() - start)


def main() -> None:
    """Make a log, load it in a process of its own, write the result."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        simulate(_WORLD, _AS_OF, log)
        spoil(log)
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            result = pool.submit(measure, log).result()
    write_json(RESULTS / "load.json", result)
    print(result)


if __name__ == "__main__":
    main()
