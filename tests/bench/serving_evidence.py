"""The tables of tests/bench/README.md about serving."""

from tests.bench.cells import table
from tests.bench.measured import Result, source


def served(result: Result) -> str:
    """How far served scores are from offline ones, and how long answers take."""
    found = result["serving"]
    rows = [
        ["requests sent", f"{found['requests']}"],
        ["largest difference between served and offline scores", f"{found['max_abs_diff']:.1e}"],
        ["all requests, p50 / p99", f"{found['p50_ms']:.0f} / {found['p99_ms']:.0f} ms"],
        ["searches whose relevance was stored, p50", f"{found['p50_stored_ms']:.0f} ms"],
        ["searches whose relevance was in part computed, p50", f"{found['p50_computed_ms']:.0f} ms"],
    ]
    return f"{table(['figure', 'value'], rows)}\n\n{source(result)}"


def serving(result: Result) -> str:
    """A row per store and size, then per way to serve the same."""
    header = ["what is asked", "p50 / p99 ms", "requests/s", "8 clients: requests/s", "p99 ms", "CPU ms a request"]

    def row(name: str, found: Result) -> list[str]:
        return [
            name,
            f"{found['p50_ms']:.1f} / {found['p99_ms']:.1f}",
            f"{found['per_second']:.0f}",
            f"{found['per_second_8']:.0f}",
            f"{found['p99_8_ms']:.0f}",
            f"{found['cpu_ms']:.1f}",
        ]

    stored = [
        row(f"ours, {items} stored items, {store}", found)
        for store, sizes in result["stores"].items()
        for items, found in sorted(sizes.items(), key=lambda size: int(size[0]))
    ]
    ways = [row(f"{way}, 50 stored items", found) for way, found in result["ways"].items() if way != "ours"]
    load = f"Other work ran on the machine: load {result['load_average']:.1f} at the start."
    return f"{table(header, [*stored, *ways])}\n\n{load} {source(result)}"


def isolated(result: Result) -> str:
    """Stored searches alone, and beside clients whose queries were never seen."""
    found = result["isolation"]
    rows = [
        [name, f"{one['p50_ms']:.1f}", f"{one['p99_ms']:.1f}"]
        for name, one in (
            ("stored searches of one client, alone", found["alone"]),
            ("the same, beside four clients of unseen queries", found["beside"]),
            ("those four clients themselves", found["unseen"]),
        )
    ]
    ratio = f"Ratio of the p99 of stored searches: {found['p99_ratio']:.2f}."
    return f"{table(['requests', 'p50 ms', 'p99 ms'], rows)}\n\n{ratio} {source(result)}"


def soak(result: Result) -> str:
    """What a service holds, in the second and in the last quarter of a soak; how it answered meanwhile."""
    quarters = ("second_quarter", "last_quarter")
    rows = [
        [what.replace("mib", "MiB").replace("_", " "), *(f"{held[quarter]:,g}" for quarter in quarters)]
        for what, held in result["held"].items()
    ]
    answers = "; ".join(
        f"{kind} " + ", ".join(f"{count:,} x {status}" for status, count in counts.items())
        for kind, counts in result["answers"].items()
    )
    held = table(["held", "second quarter", "last quarter"], rows, texts=1)
    return f"{held}\n\nAnswers: {answers}.\n\n{source(result)}"
