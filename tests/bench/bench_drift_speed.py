"""CPU seconds and peak memory of comparing two tables, imports and pages included.

    python -m tests.bench.bench_drift_speed

Writes drift-speed.json in tests/bench/results. Each comparison runs in a process of its own. Half of the columns are
numbers, the others text of 12 to 4,000 values; a fifth of all columns moved.
"""

import multiprocessing
import os
import resource
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from components.contracts.tools.manifest import write_json
from components.monitoring.config import MonitoringConfig
from components.monitoring.drift import compare
from tests.bench.measured import RESULTS, machine

# Rows, columns, format; what they should take at most: CPU seconds and MiB.
_SIZES = ((1_000_000, 50, "parquet", 30, 1024), (100_000, 30, "parquet", 12, 1024), (100_000, 30, "csv", 12, 1024))
_CHUNK = 100_000


def write_side(path: Path, rows: int, columns: int, moved: bool) -> None:
    """A table of two markets, chunk by chunk."""
    writer = None
    for number in range(rows // _CHUNK):
        chunk = pa.Table.from_pandas(_chunk(2 * number + moved, columns, moved), preserve_index=False)
        if writer is None:
            parquet = path.suffix == ".parquet"
            writer = pq.ParquetWriter(path, chunk.schema) if parquet else pa.csv.CSVWriter(path, chunk.schema)
        writer.write_table(chunk)
    assert writer is not None
    writer.close()


def _chunk(seed: int, columns: int, moved: bool) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    made: dict[str, Any] = {"market": rng.choice(["TH", "VN"], _CHUNK)}
    for place in range(1, columns):
        shift = 0.3 * (moved and place % 5 == 0)
        if place % 2:
            made[f"number {place}"] = rng.lognormal(shift, 1, _CHUNK).round(4)
        else:
            values = np.minimum(rng.zipf(1.5 + shift, _CHUNK), 12 if place % 4 else 4000)
            made[f"text {place}"] = np.char.add("value ", values.astype(str))
    return pd.DataFrame(made)


def measure(old: Path, new: Path, out: Path) -> dict[str, float]:
    """One comparison in this process, which has done nothing else."""
    compare(old, new, MonitoringConfig(), out)
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
        "peak_rss_mb": round(used.ru_maxrss / 2**10),
    }


def main() -> None:
    """Measure every size, keep and print."""
    found = []
    for rows, columns, suffix, cpu_seconds, peak_mb in _SIZES:
        with tempfile.TemporaryDirectory() as folder:
            sides = [Path(folder) / f"{name}.{suffix}" for name in ("old", "new")]
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
                for moved, side in enumerate(sides):
                    pool.submit(write_side, side, rows, columns, bool(moved)).result()
            load = os.getloadavg()[0]
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
                figure = pool.submit(measure, *sides, Path(folder) / "out").result()
        case = {"rows": rows, "columns": columns, "format": suffix, "load_average": round(load, 1), "figure": figure}
        found.append(case | {"target": {"cpu_seconds": cpu_seconds, "peak_rss_mb": peak_mb}})
        print(found[-1], flush=True)
    result = {"command": "python -m tests.bench.bench_drift_speed", "machine": machine(), "cases": found}
    write_json(RESULTS / "drift-speed.json", result)


if __name__ == "__main__":
    main()
