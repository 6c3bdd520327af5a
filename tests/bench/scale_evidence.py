"""Tables of what large logs cost: stages at three sizes, ways to join, and the training set's file."""

from tests.bench.cells import table
from tests.bench.measured import Result, source

_WAYS = {
    "join": "DuckDB, by shards of requests",
    "feast_join": "Feast's get_historical_features on DuckDB",
    "pandas_merge": "pandas: merge, filter, keep the newest",
    "pandas_asof": "pandas: merge_asof",
}


def entire_space(result: Result) -> str:
    """A row per stage and size: seconds, processor seconds a million candidates, and peak memory."""
    rows = []
    for size in result["sizes"]:
        for stage, took in size["stages"].items():
            cost = 1e6 * took["cpu_seconds"] / size["candidates"]
            rows.append(
                [
                    f"{size['candidates']:,} ({size['samples']:,})",
                    stage,
                    f"{took['seconds']:.1f}",
                    f"{took['cpu_seconds']:.1f}",
                    f"{cost:.1f}",
                    f"{took['peak_rss_mb'] / 1024:.2f}",
                ]
            )
    header = ["candidates (samples)", "stage", "seconds", "CPU seconds", "CPU seconds a million candidates", "peak GiB"]
    limits = f"DuckDB with `memory: {result['engine']['memory']}` and {result['engine']['threads']} threads."
    return f"{table(header, rows, texts=2)}\n\n{limits} {source(result)}"


def joins(result: Result) -> str:
    """A row per size and way to join the same samples."""
    rows = []
    for size in result["sizes"]:
        own = size["stages"]["join"]
        for way, took in ({"join": own} | size["joins"]).items():
            per_row = 1e6 * took["cpu_seconds"] / size["samples"]
            ratio = took["cpu_seconds"] / own["cpu_seconds"]
            figures = [f"{per_row:.1f}", f"{took['peak_rss_mb'] / 1024:.2f}", f"{ratio:.1f}"]
            rows.append([f"{size['samples']:,}", _WAYS[way], *figures])
    header = ["samples", "join", "CPU microseconds a sample", "peak GiB", "times the CPU of the first"]
    return f"{table(header, rows, texts=2)}\n\n{source(result)}"


def training_set(result: Result) -> str:
    """The flat file and the nested one, and ways to write the latter."""
    files, flat = result["files"], result["files"]["flat"]
    rows = [
        [
            f"{name} rows, as tensors",
            f"{took['bytes'] / 2**20:.2f}",
            f"{1 - took['bytes'] / flat['bytes']:.1%}",
            f"{took['read_cpu_seconds']:.3f}",
            f"{flat['read_cpu_seconds'] / took['read_cpu_seconds']:.2f}",
        ]
        for name, took in files.items()
    ]
    rows += [
        [
            f"nested, as a table: {way}",
            f"{took['bytes'] / 2**20:.2f}",
            f"{1 - took['bytes'] / flat['bytes']:.1%}",
            f"{took['read_cpu_seconds']:.3f}",
            "",
        ]
        for way, took in result["ways"].items()
    ]
    header = ["file", "MiB", "smaller", "CPU seconds to read", "times as fast"]
    counts = f"{result['samples']:,} samples of {result['requests']:,} requests, {result['features']} features."
    return f"{table(header, rows)}\n\n{counts} {source(result)}"
