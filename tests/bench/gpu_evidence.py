"""The tables of tests/bench/README.md about a GPU."""

from collections.abc import Callable, Mapping

from tests.bench.cells import table
from tests.bench.measured import Result, source, sources


def gpu_experts(result: Result) -> str:
    """A row per shape and way of running it."""
    header = ["shape", "way", "MFU", "pairs/s", "queries/s (10 items)", "padding"]
    rows = [
        [
            shape,
            way,
            _percent(found["mfu"]),
            f"{found['pairs_per_second']:,.0f}",
            f"{found['queries_per_second']:,.1f}",
            _percent(found["padding"]),
        ]
        for shape, ways in result["shapes"].items()
        for way, found in ways["ways"].items()
    ]
    rate = f"MFU is a share of {result['product_tflops']:.0f} TFLOP/s."
    return f"{table(header, rows, texts=2)}\n\n{rate} {source(result)}"


def gpu_precision(result: Result) -> str:
    """A row per expert and precision: what it costs, and what it gains."""
    rows = [
        [expert, precision, _percent(found["relative_error"]), f"{found['auc']:.4f}", f"{found['pairs_per_second']:,}"]
        for expert, precisions in result["experts"].items()
        for precision, found in precisions.items()
    ]
    return f"{table(['expert', 'precision', 'relative error', 'AUC', 'pairs/s'], rows, texts=2)}\n\n{source(result)}"


def gpu_mixture(runs: Mapping[str, Result]) -> str:
    """Batch scoring of a mixture against a synchronous control and against dense models; a column per run."""
    dense = [{one["layers"]: one for one in result["dense"]} for result in runs.values()]
    depths = sorted({layers: one["parameters"] for own in dense for layers, one in own.items()}.items(), reverse=True)

    def row(name: str, cell: Callable[[Result], str]) -> list[str]:
        return [name, *(cell(result) for result in runs.values())]

    rows = [
        row("active parameters of the mixture", lambda result: f"{result['active_parameters'] / 1e6:.0f} M"),
        row("queries of 10 items per second", lambda result: f"{result['queries_per_second']['batch']:,.0f}"),
        row("batch scoring over the synchronous control", lambda result: f"{result['batch_over_control']:.2f}"),
        row("the same, a third repeated", lambda result: f"{result['batch_over_control_repeated']:.2f}"),
    ]
    for layers, parameters in depths:
        cells = [f"{own[layers]['mixture_over_dense']:.2f}" if layers in own else "not run" for own in dense]
        rows.append([f"mixture over {layers} layers of Gemma ({parameters / 1e6:.0f} M)", *cells])
    return f"{table(['figure or ratio', *runs], rows)}\n\n{sources(runs)}"


def gpu_prefix(result: Result) -> str:
    """A row per shape and number of items: pairs a second with every pair's prefix, and with one per query."""
    rows = [
        [
            shape,
            items,
            *(f"{rate:,}" for rate in found["pairs_per_second"].values()),
            f"{found['ratio']:.2f}",
            f"{found['relative_error']:.1e}",
        ]
        for shape, sizes in result["shapes"].items()
        for items, found in sizes.items()
    ]
    header = ["shape", "items a query", "pairs/s, every prefix", "pairs/s, prefix once", "ratio", "relative difference"]
    return f"{table(header, rows)}\n\n{source(result)}"


def gpu_triton(result: Result) -> str:
    """A row per way, a column per number of clients: share of the offline rate, and latencies."""
    counts = sorted({row["clients"] for row in result["rows"]})
    cells: dict[str, dict[int, str]] = {}
    for row in result["rows"]:
        shown = f"{row['share']:.2f}, {row['p50_ms']:.1f} / {row['p99_ms']:.1f}"
        cells.setdefault(row["way"], {})[row["clients"]] = shown
    rows = [[way, *(own.get(count, "not run") for count in counts)] for way, own in cells.items()]
    rates = "; ".join(
        f"{precision}: " + ", ".join(f"{kind} {rate:,}" for kind, rate in own.items())
        for precision, own in result["offline_pairs_per_second"].items()
    )
    header = ["way: share of offline, p50 / p99 ms", *(f"{count} client{'s' * (count > 1)}" for count in counts)]
    return f"{table(header, rows)}\n\nOffline, one expert, pairs/s: {rates}. {source(result)}"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
