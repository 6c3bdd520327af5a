"""How large a training set's file is and how fast it becomes the ranker's tensors, beside a file of flat rows.

    python -m tests.bench.bench_training_set [--scale 1.35]

Writes tests/bench/results/training-set.json. The flat file has a row per sample with every column of SAMPLES and every
feature, in the order of time, as Arrow writes it with zstd; reading it checks the same rules of SAMPLES.
"""

import argparse
import hashlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.contracts.features import FEATURES, assemble, pad_sequences, stored_features
from components.contracts.request_time import complete
from components.contracts.schemas import SAMPLES
from components.contracts.tables import Limits, read_table, write_table
from components.contracts.tools.log import configure
from components.contracts.tools.manifest import read_manifest, write_json
from components.contracts.training_set import ALL_COLUMNS, TRAINING_SET, read_training_rows, stated_features
from components.ranking.dataset import read_training_set
from tests.bench.bench_entire_space import features, join, samples
from tests.bench.entire_space_world import write_world
from tests.bench.measured import RESULTS, machine

REPEATS = 5
# Ways to write the nested rows; the first is the file's own.
WAYS: dict[str, dict[str, Any]] = {
    "zstd 3, dictionaries": {"compression_level": 3},
    "zstd 1, dictionaries": {"compression_level": 1},
    "zstd 9, dictionaries": {"compression_level": 9},
    "zstd 3, no dictionaries": {"compression_level": 3, "use_dictionary": False},
    "zstd 3, pages of version 2": {"compression_level": 3, "data_page_version": "2.0"},
    "snappy, dictionaries": {"compression": "snappy"},
}


def write_flat(training_set: Path, markets: tuple[str, ...], path: Path) -> None:
    """The same samples in flat rows."""
    rows = read_training_rows(training_set / TRAINING_SET)
    codes = stated_features(rows.requests, markets, "bench")
    table = rows.table(ALL_COLUMNS)
    for name, values in codes.items():
        table = table.append_column(name, values.take(pa.array(rows.request)))
    pairs = zip(table["request_id"].to_pylist(), table["item_id"].to_pylist(), strict=True)
    digests = [_md5(_md5(request) + item) for request, item in pairs]
    table = table.append_column("sample_id", pa.array(digests))
    in_order = [(name, "ascending") for name in ("timestamp", "request_id", "item_id")]
    kinds = {"categorical": pa.int64(), "sequence": pa.list_(pa.int64())}
    for column in stored_features():
        if column.kind in kinds:
            place = table.column_names.index(column.name)
            table = table.set_column(place, column.name, table[column.name].cast(kinds[column.kind]))
    write_table(table.sort_by(in_order), path)


def read_flat(path: Path, markets: tuple[str, ...]) -> int:
    """Flat rows as tensors; returns how many."""
    table = read_table(path, SAMPLES, Limits(markets))
    columns = {}
    for name in table.column_names:
        column = table[name].combine_chunks()
        if pa.types.is_list(column.type):
            lengths = pc.list_value_length(column).to_numpy().astype(np.int64)
            columns[name] = pad_sequences(column.values.to_numpy(), column.offsets.to_numpy()[:-1], lengths)
        elif not pa.types.is_string(column.type):
            columns[name] = column.to_numpy(zero_copy_only=False)
    at_s = columns["timestamp"].astype("datetime64[s]").astype(np.int64)
    return len(assemble(complete(columns, at_s)).numeric)


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def processor_seconds(work: Callable[[], object]) -> float:
    """The median of some runs."""
    taken = []
    for _ in range(REPEATS):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return round(statistics.median(taken), 3)


def measure(scale: float) -> dict[str, Any]:
    """Make a world, its training set and the flat one, and weigh both."""
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_world(root, scale)
        for stage in (samples, features, join):
            stage(root)
        markets = tuple(read_manifest(root / "log")["markets"])
        nested, flat = root / "training_set" / TRAINING_SET, root / "flat.parquet"
        write_flat(root / "training_set", markets, flat)
        counts = read_manifest(root / "training_set")["metrics"]
        assert read_flat(flat, markets) == counts["rows"]
        found = {
            "flat": _weighed(flat, processor_seconds(lambda: read_flat(flat, markets))),
            "nested": _weighed(nested, processor_seconds(lambda: read_training_set(nested.parent, markets))),
        }
        table, ways = pq.read_table(nested), {}
        group = -(-table.num_rows // pq.ParquetFile(nested).num_row_groups)
        for way, options in WAYS.items():
            path = root / "way.parquet"
            pq.write_table(table, path, row_group_size=group, **({"compression": "zstd"} | options))
            ways[way] = _weighed(path, processor_seconds(lambda path=path: pq.read_table(path)))
    return {
        "command": f"python -m tests.bench.bench_training_set --scale {scale:g}",
        "machine": machine(),
        "load_average": round(load, 1),
        "simulated": True,
        "requests": counts["requests"],
        "samples": counts["rows"],
        "features": len(FEATURES),
        "files": found,
        "ways": ways,
        "smaller": round(1 - found["nested"]["bytes"] / found["flat"]["bytes"], 4),
        "faster": round(found["flat"]["read_cpu_seconds"] / found["nested"]["read_cpu_seconds"], 2),
    }


def _weighed(path: Path, seconds: float) -> dict[str, float]:
    return {"bytes": path.stat().st_size, "read_cpu_seconds": seconds}


def main() -> None:
    """Measure and keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", type=float, default=1.35, help="times the users and requests of the world")
    configure()
    write_json(RESULTS / "training-set.json", measure(parser.parse_args().scale))


if __name__ == "__main__":
    main()
