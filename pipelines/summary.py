"""`summary.json`: what a run measured, in one file, and the table a person sees at its end."""

import shutil
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from components.contracts.tools.manifest import read_json, read_manifest
from components.ranking.config import RANKING_METRICS
from components.relevance.config import MIXTURE
from pipelines.runner import Run

RELEASED = MIXTURE.name  # the variant whose intervals are shown
_WIDTH = 120


def summarise(run: Run, out: Path, release: Path | None, serving: dict[str, Any] | None) -> dict[str, Any]:
    """The summary of a finished run but for its time and memory; parts that it skipped are null."""
    log = read_manifest(run.artifacts["log"])
    ranker = read_manifest(run.artifacts["ranker"])["metrics"] if "ranker" in run.artifacts else None
    return {
        "simulated": log["simulated"],
        "markets": log["markets"],
        "as_of": log["as_of"],
        "stages": run.seconds,
        "relevance": read_manifest(run.artifacts["relevance_model"])["metrics"]["relevance"],
        "ranking": ranker["ranking"] if ranker else None,
        "oracle": ranker.get("oracle") if ranker else None,
        "drift": read_json(run.artifacts["drift"] / "drift.json"),
        "gate": read_json(run.artifacts["verdict"] / "verdict.json"),
        "release": {"digest": release.name, "path": str(release)} if release else None,
        "serving": serving,
        "reports": collect_reports(run, out / "reports"),
    }


def collect_reports(run: Run, target: Path) -> dict[str, str]:
    """Copy every step's HTML reports into one folder; name -> path."""
    target.mkdir(parents=True, exist_ok=True)
    found = {}
    for artifact in run.artifacts.values():
        for report in sorted((artifact / "reports").glob("*.html")):
            found[report.stem] = str(shutil.copy(report, target / report.name))
    return found


def show(summary: dict[str, Any]) -> None:
    """Print the tables a person reads at the end of a run; none is cut where output is not a wide terminal."""
    console = Console()
    world = "simulated data" if summary["simulated"] else "logged data"
    relevance = _relevance_table(summary, world)
    needed = Measurement.get(console, console.options.update(max_width=10_000), relevance).maximum
    console.width = max(console.width, _WIDTH, needed)
    console.print(relevance)
    if summary["ranking"]:
        console.print(_ranking_table(summary, world))
    console.print(_run_table(summary))
    reports = Table("report", "where", title="Reports", title_justify="left")
    for name, path in summary["reports"].items():
        reports.add_row(name, path)
    console.print(reports)


def _relevance_table(summary: dict[str, Any], world: str) -> Table:
    """Markets by rows, since there may be many of them; variants by columns, the best first, with its interval."""
    best_first = sorted(summary["relevance"].items(), key=lambda entry: -entry[1]["pooled"])
    table = Table("market", title=f"Relevance: out-of-fold AUC ({world})", title_justify="left")
    for variant, _ in best_first:
        table.add_column(variant, justify="right")
        if variant == RELEASED:
            table.add_column("its 95 % interval", justify="right")
    for market in (*summary["markets"], "macro", "pooled"):
        cells = []
        for variant, aucs in best_first:
            cells.append("-" if aucs.get(market) is None else f"{aucs[market]:.3f}")
            if variant == RELEASED:
                bounds = aucs["interval"][market]
                cells.append(f"{bounds[0]:.3f} .. {bounds[1]:.3f}" if bounds else "-")
        table.add_row(market, *cells)
    return table


def _ranking_table(summary: dict[str, Any], world: str) -> Table:
    table = Table("variant", title=f"Ranking: native search exposures of the test days ({world})", title_justify="left")
    for metric in RANKING_METRICS:
        table.add_column(metric, justify="right")
    for variant, metrics in summary["ranking"].items():
        table.add_row(variant, *(f"{metrics[metric]:.4f}" for metric in RANKING_METRICS))
    return table


def _run_table(summary: dict[str, Any]) -> Table:
    table = Table("what", "result", title="Run", title_justify="left")
    table.add_row("steps", ", ".join(f"{step} {seconds:.0f} s" for step, seconds in summary["stages"].items()))
    table.add_row("peak memory", f"{summary['peak_rss_mb']:.0f} MB over all processes")
    table.add_row("drift", "found" if summary["drift"]["drifted"] else "none found")
    table.add_row("gate", "passed" if summary["gate"]["passed"] else "refused")
    table.add_row("release", summary["release"]["path"] if summary["release"] else "none")
    serving = summary["serving"]
    if serving:
        table.add_row(
            "serving",
            f"{serving['requests']} requests, p50 {serving['p50_ms']:.1f} ms, p99 {serving['p99_ms']:.1f} ms, "
            f"largest difference to offline scores {serving['max_abs_diff']:.1e}",
        )
    return table
