"""Write the README's tables from what was measured: nothing in them is typed by hand.

A table stands between `<!-- table:NAME -->` and `<!-- end -->`. Runs are recorded from their summary.json into
tests/bench/results (`make tables RUN=runs/...`), beside the measurements that `make bench` leaves there.
"""

import argparse
import os
import platform
import re
from pathlib import Path
from typing import Any

from components.contracts.errors import BadInput
from components.contracts.tools.manifest import read_json, write_json
from components.ranking.config import RANKING_METRICS

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "tests" / "bench" / "results"
_SLOT = re.compile(r"(<!-- table:(?P<name>[\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def machine() -> str:
    """The machine that measured, in words."""
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} {platform.machine()} cores, {memory_gb:.0f} GiB, Python {platform.python_version()}"


def record_run(run: Path, name: str, command: str) -> None:
    """Keep the figures of a run's summary.json as a result."""
    summary = read_json(run / "summary.json")
    kept = ("simulated", "markets", "seconds", "stages", "peak_rss_mb", "relevance", "ranking", "oracle", "serving")
    figures = {key: summary[key] for key in kept}
    drift = {"drifted": summary["drift"]["drifted"]}
    write_json(RESULTS / f"run-{name}.json", {"command": command, "machine": machine(), "drift": drift, **figures})


def relevance_table(result: dict[str, Any]) -> str:
    """AUC a variant and market, with the pooled interval."""
    columns = [*result["markets"], "macro", "pooled"]
    lines = [_row(["variant", *columns, "95 % interval, pooled"]), _row(["---"] + ["---:"] * (len(columns) + 1))]
    for variant, aucs in result["relevance"].items():
        low, high = aucs["interval"]["pooled"]
        cells = ["-" if aucs.get(column) is None else f"{aucs[column]:.3f}" for column in columns]
        lines.append(_row([variant, *cells, f"{low:.3f} .. {high:.3f}"]))
    return "\n".join([*lines, "", _source(result)])


def ranking_table(result: dict[str, Any]) -> str:
    """Ranking metrics a variant."""
    lines = [_row(["variant", *RANKING_METRICS]), _row(["---"] + ["---:"] * len(RANKING_METRICS))]
    lines += [
        _row([variant, *(f"{values[m]:.4f}" for m in RANKING_METRICS)]) for variant, values in result["ranking"].items()
    ]
    return "\n".join([*lines, "", _source(result)])


def run_table(result: dict[str, Any]) -> str:
    """What the whole run costs, and what serving answers."""
    serving = result["serving"]
    rows = {
        "whole run, installation apart": f"{result['seconds'] / 60:.1f} min",
        "peak memory, all processes": f"{result['peak_rss_mb'] / 1024:.1f} GiB",
        f"served requests ({serving['requests']}), p50 / p99": f"{serving['p50_ms']:.0f} / {serving['p99_ms']:.0f} ms",
        "largest difference between served and offline scores": f"{serving['max_abs_diff']:.1e}",
    }
    lines = [_row(["figure", "value"]), _row(["---", "---:"]), *(_row([name, value]) for name, value in rows.items())]
    return "\n".join([*lines, "", _source(result)])


def study_table(result: dict[str, Any]) -> str:
    """A row a variant: pooled AUC, what the mixture gains over it, and what runs for a pair."""
    seeds = len(next(iter(result["seeds"].values())))
    judged = result["judged"]
    quality = {"PR-AUC": "pr_auc"}
    if judged["pairs"] >= 2 * judged["queries"]:
        # It says something where queries have several items each.
        quality["NDCG@10"] = "ndcg@10"
    columns = ["variant", "active parameters (M)", "pooled AUC", "mixture gains (points)", "95 % interval", *quality]
    lines = [_row(columns), _row(["---"] + ["---:"] * (len(columns) - 1))]
    best_first = sorted(result["relevance"].items(), key=lambda entry: -entry[1]["pooled"])
    for variant, aucs in best_first:
        active, delta = result["active_parameters"].get(variant), result["deltas"].get(variant)
        gain, low, high = (
            (f"{100 * value:+.2f}" for value in (delta["pooled"]["mixture_minus"], *delta["pooled"]["interval"]))
            if delta
            else ("", "", "")
        )
        cells = [
            f"{active / 1e6:.0f}" if active else "",
            f"{aucs['pooled']:.4f}",
            gain,
            f"{low} .. {high}" if low else "",
        ]
        cells += [f"{result['quality'][variant][name]:.4f}" for name in quality.values()]
        lines.append(_row([variant, *cells]))
    rounds = f"{seeds} seed{'s' * (seeds > 1)}"
    note = f"{judged['pairs']:,} pairs, {judged['queries']:,} queries, out of fold, {rounds}."
    return "\n".join([*lines, "", f"{note} {_source(result)}"])


def spaces_table(result: dict[str, Any]) -> str:
    """Anisotropy of the experts' spaces and of what each fusion head reads, and how alike the experts' spaces are."""
    columns = ["width", "mean_cosine", "top_share", "effective_rank", "isoscore"]
    lines = [_row(["space", *(name.replace("_", " ") for name in columns)]), _row(["---"] + ["---:"] * len(columns))]
    for name, figures in result["spaces"]["spaces"].items():
        cells = (f"{figures[c]:.3f}" if c not in ("width", "effective_rank") else f"{figures[c]:.0f}" for c in columns)
        lines.append(_row([name, *cells]))
    lines += ["", _row(["two experts", "CKA", "Procrustes error"]), _row(["---", "---:", "---:"])]
    for pair in result["spaces"]["pairs"]:
        lines.append(_row([f"{pair['left']}, {pair['right']}", f"{pair['cka']:.3f}", f"{pair['procrustes']:.3f}"]))
    return "\n".join([*lines, "", _source(result)])


def fusion_table(result: dict[str, Any]) -> str:
    """A row a head: pooled AUC, and what concatenation gains over it."""
    lines = [
        _row(["head", "pooled AUC", "concatenation gains (points)", "95 % interval"]),
        _row(["---"] + ["---:"] * 3),
    ]
    for name, head in result["heads"].items():
        gain, low, high = (f"{100 * value:+.2f}" for value in (head["concatenation_minus"], *head["interval"]))
        cells = (gain, f"{low} .. {high}") if head["concatenation_minus"] else ("", "")  # none over itself
        lines.append(_row([name, f"{head['pooled']:.4f}", *cells]))
    return "\n".join([*lines, "", f"{', '.join(result['experts'])}; {result['seeds']} seeds. {_source(result)}"])


def gpu_experts_table(result: dict[str, Any]) -> str:
    """A row a shape and way of running it."""
    columns = ["pairs_per_second", "queries_per_second", "mfu", "padding"]
    header = ["shape", "way", "pairs/s", "queries/s (10 items)", "MFU", "padding"]
    lines = [_row(header), _row(["---", "---"] + ["---:"] * len(columns))]
    for shape, found in result["shapes"].items():
        for way, figures in found["ways"].items():
            lines.append(_row([shape, way, *(f"{figures[column]:,.6g}" for column in columns)]))
    rate = f"MFU is over {result['product_tflops']:.0f} TFLOP/s, a bfloat16 product in the same run."
    return "\n".join([*lines, "", f"Random weights and token ids. {rate} {_gpu_source(result)}"])


def gpu_precision_table(result: dict[str, Any]) -> str:
    """A row an expert and precision: what it costs, and what it gains."""
    header = ["expert", "precision", "relative error", "AUC", "pairs/s"]
    lines = [_row(header), _row(["---", "---"] + ["---:"] * 3)]
    for expert, precisions in result["experts"].items():
        for precision, figures in precisions.items():
            cells = [f"{figures['relative_error']:.1e}", f"{figures['auc']:.4f}", f"{figures['pairs_per_second']:,}"]
            lines.append(_row([expert, precision, *cells]))
    return "\n".join([*lines, "", f"Real judgments; {_gpu_source(result)}"])


def gpu_mixture_table(result: dict[str, Any]) -> str:
    """Batch scoring of a mixture against a synchronous control and against dense baselines."""
    rows = {
        "batch scoring over the synchronous control": result["batch_over_control"],
        "the same, a third of the requests repeated": result["batch_over_control_repeated"],
    }
    rows |= {
        f"mixture over {dense['layers']} layers of Gemma ({dense['parameters'] / 1e6:.0f} M)": dense[
            "mixture_over_dense"
        ]
        for dense in result["dense"]
    }
    lines = [_row(["queries a second, ratio", "value"]), _row(["---", "---:"])]
    lines += [_row([name, f"{value:.2f}"]) for name, value in rows.items()]
    active = f"{result['active_parameters'] / 1e6:.0f} M active parameters"
    speed = f"the mixture, {active}, scores {result['queries_per_second']['batch']:,.0f} queries of 10 items a second"
    return "\n".join([*lines, "", f"Simulated requests; {speed}; {_gpu_source(result)}"])


def bench_table(results: dict[str, dict[str, Any]]) -> str:
    """A row a measurement of `make bench`: its figures, and the ratio to its baseline."""
    lines = [
        _row(["measurement", "figures", "baseline", "ratio", "command"]),
        _row(["---", "---", "---", "---:", "---"]),
    ]
    for name, result in results.items():
        figures, baseline = (_figures(result[key]) for key in ("figure", "baseline"))
        lines.append(_row([name, figures, baseline, f"{result['ratio']:.2f}", f"`{result['command']}`"]))
    machines = {str(result["machine"]) for result in results.values()}
    return "\n".join([*lines, "", f"On {'; '.join(sorted(machines))}."])


GPU_TABLES = {
    "gpu-experts": gpu_experts_table,
    "gpu-mixture": gpu_mixture_table,
    "gpu-precision": gpu_precision_table,
}


def render(readme: str, tables: dict[str, str]) -> str:
    """The README with every slot filled.

    Raises:
        BadInput: a slot names a table that has no result.
    """

    def fill(match: re.Match[str]) -> str:
        name = match["name"]
        if name not in tables:
            raise BadInput(f"README.md: no result for table {name} (known: {', '.join(sorted(tables))})")
        return f"{match[1]}{tables[name]}\n{match[3]}"

    return _SLOT.sub(fill, readme)


def measured_tables() -> dict[str, str]:
    """Every table that the stored results make possible."""
    tables = {}
    for path in sorted(RESULTS.glob("run-*.json")):
        result, name = read_json(path), path.stem.removeprefix("run-")
        tables[f"relevance-{name}"] = relevance_table(result)
        if result["ranking"]:
            tables[f"ranking-{name}"] = ranking_table(result)
        if result["serving"]:
            tables[f"run-{name}"] = run_table(result)
    for path in sorted(RESULTS.glob("study-*.json")):
        result, name = read_json(path), path.stem.removeprefix("study-")
        tables |= {f"study-{name}": study_table(result), f"spaces-{name}": spaces_table(result)}
        tables[f"relevance-{name}"] = relevance_table(result)
    tables |= {path.stem: fusion_table(read_json(path)) for path in sorted(RESULTS.glob("fusion-*.json"))}
    for name, table in GPU_TABLES.items():
        tables |= {path.stem: table(read_json(path)) for path in sorted(RESULTS.glob(f"{name}*.json"))}
    others = ("run-", "study-", "fusion-", "gpu-")
    benches = [path for path in sorted(RESULTS.glob("*.json")) if not path.stem.startswith(others)]
    tables["bench"] = bench_table({path.stem: read_json(path) for path in benches})
    return tables


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _figures(values: dict[str, Any]) -> str:
    numbers = (
        f"{name.replace('_', ' ')}: {v if isinstance(v, str) else format(v, ',.10g')}" for name, v in values.items()
    )
    return ", ".join(numbers)


def _source(result: dict[str, Any]) -> str:
    world = "Simulated data" if result["simulated"] else "Real judgments"
    return f"{world}; `{result['command']}` on {result['machine']}."


def _gpu_source(result: dict[str, Any]) -> str:
    machine = result["machine"]
    return f"`{result['command']}` on one {machine['gpu']}, {machine['cores']} cores, PyTorch {machine['torch']}."


def main() -> None:
    """Record a run where one is named, then rewrite the README's tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, help="folder of a finished run to record first")
    parser.add_argument("--name", default="laptop", help="name of the recorded run")
    parser.add_argument("--command", default="make run", help="what was typed to get it")
    arguments = parser.parse_args()
    if arguments.run:
        record_run(arguments.run, arguments.name, arguments.command)
    readme = ROOT / "README.md"
    readme.write_text(render(readme.read_text(encoding="utf-8"), measured_tables()), encoding="utf-8")


if __name__ == "__main__":
    main()
