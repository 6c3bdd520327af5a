"""`summary.json`: what a run measured, in one file, and what a person reads at its end."""

import shutil
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from components.contracts.tools.cells import Estimate, spell
from components.contracts.tools.manifest import read_json, read_manifest
from components.ranking.config import RANKING_METRICS
from components.release.conclusions import RELEASED, conclusions, ranking_gains, relevance_gains
from components.release.gate import VERDICT, tally, with_latency
from components.release.gate_config import GateConfig
from pipelines.index_page import REPORTS, kind
from pipelines.next_steps import look_first, try_next
from pipelines.runner import Run

_WIDTH = 120


def summarise(
    run: Run, out: Path, release: Path | None, serving: dict[str, Any] | None, gate: GateConfig
) -> dict[str, Any]:
    """The summary of a finished run but for its time and memory; parts that it skipped are null.

    `gate` holds the budget by which the latency that `serving` states is judged.
    """
    log = read_manifest(run.artifacts["log"])
    relevance = read_manifest(run.artifacts["relevance_model"])["metrics"]
    ranker = read_manifest(run.artifacts["ranker"])["metrics"] if "ranker" in run.artifacts else None
    return {
        "simulated": log["simulated"],
        "markets": log["markets"],
        "as_of": log["as_of"],
        "stages": run.seconds,
        "relevance": relevance["relevance"],
        "deltas": relevance["deltas"],
        "lexical_share": relevance["lexical_share"],
        "ranking": ranker["ranking"] if ranker else None,
        "baseline": ranker["baseline"] if ranker else None,
        "oracle": ranker.get("oracle") if ranker else None,
        "leak": ranker["leak"] if ranker else None,
        "drift": read_json(run.artifacts["drift"] / "drift.json"),
        "gate": with_latency(read_json(run.artifacts["verdict"] / VERDICT), serving, gate),
        "release": {"digest": release.name, "path": str(release)} if release else None,
        "serving": serving,
        "reports": collect_reports(run, out / "reports"),
    }


def collect_reports(run: Run, target: Path) -> dict[str, str]:
    """Copy every step's HTML reports into one folder; name -> path, in the order of `REPORTS`."""
    target.mkdir(parents=True, exist_ok=True)
    found = {
        report.stem: str(shutil.copy(report, target / report.name))
        for artifact in run.artifacts.values()
        for report in (artifact / "reports").glob("*.html")
    }
    order = list(REPORTS)
    place = {name: order.index(kind(name)) if kind(name) in order else len(order) for name in found}
    return dict(sorted(found.items(), key=lambda entry: (place[entry[0]], entry[0])))


def show(summary: dict[str, Any]) -> None:
    """Print what a person reads at the end of a run; no table is cut where output is not a wide terminal."""
    console = Console()
    world = "simulated data" if summary["simulated"] else "logged data"
    tables = [_relevance_table(summary, world), _market_table(summary, world)]
    if summary["ranking"]:
        tables += [_ranking_table(summary, world), _gains_table(summary, world)]
    wide = console.options.update(max_width=10_000)
    console.width = max(console.width, _WIDTH, *(Measurement.get(console, wide, table).maximum for table in tables))
    for table in [*tables, _run_table(summary)]:
        console.print(table)
    _say(console, "Reports", [f"{name:<16}{path}" for name, path in summary["reports"].items()])
    _say(console, "What this run shows, and what it does not", conclusions(summary))
    _say(console, "Look at first", look_first(summary))
    _say(console, "Try next (serve until Ctrl-C, the other in a second shell)", try_next(summary))


def _say(console: Console, title: str, lines: list[str]) -> None:
    """A heading and its lines, which may be copied: nothing in them is wrapped or coloured."""
    if lines:
        console.print(f"\n[bold]{title}[/bold]")
        for line in lines:
            console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)


def _relevance_table(summary: dict[str, Any], world: str) -> Table:
    """A row per variant, the best first: its AUC, and what the released one gains over it."""
    gains = relevance_gains(summary)
    table = Table("variant", title=f"Relevance: out-of-fold AUC, 95 % intervals ({world})", title_justify="left")
    for column in ("pooled", "mean over markets", f"{RELEASED} gains, points of pooled AUC"):
        table.add_column(column, justify="right")
    for variant, row in sorted(summary["relevance"].items(), key=lambda entry: -entry[1]["pooled"]):
        figures = (spell(Estimate.of(row[name], row["interval"][name])) for name in ("pooled", "macro"))
        table.add_row(variant, *figures, spell(gains[variant], "points") if variant in gains else "")
    return table


def _market_table(summary: dict[str, Any], world: str) -> Table:
    row = summary["relevance"][RELEASED]
    table = Table("market", title=f"{RELEASED} by market ({world})", title_justify="left")
    table.add_column("AUC, 95 % interval", justify="right")
    for market in summary["markets"]:
        table.add_row(market, spell(Estimate.of(row.get(market), row["interval"].get(market))))
    return table


def _ranking_table(summary: dict[str, Any], world: str) -> Table:
    title = f"Ranking: native search exposures of the test days, 95 % intervals ({world})"
    table = Table("variant", title=title, title_justify="left")
    for metric in RANKING_METRICS:
        table.add_column(metric.upper(), justify="right")
    for variant, row in summary["ranking"].items():
        table.add_row(variant, *(spell(Estimate.of(row[m], row["interval"][m])) for m in RANKING_METRICS))
    return table


def _gains_table(summary: dict[str, Any], world: str) -> Table:
    """What each variant gains over the baseline."""
    title = f"Ranking: gain over {summary['baseline']} in points, 95 % intervals ({world})"
    table = Table("variant", title=title, title_justify="left")
    gains = {metric: ranking_gains(summary, metric) for metric in RANKING_METRICS}
    for metric in RANKING_METRICS:
        table.add_column(metric.upper(), justify="right")
    for variant in gains["auc"]:
        table.add_row(variant, *(spell(gains[metric][variant], "points") for metric in RANKING_METRICS))
    return table


def _run_table(summary: dict[str, Any]) -> Table:
    table = Table("what", "result", title="Run", title_justify="left")
    table.add_row("steps", ", ".join(f"{step} {seconds:.0f}\u00a0s" for step, seconds in summary["stages"].items()))
    table.add_row("peak memory", f"{summary['peak_rss_mb']:.0f} MB over all processes")
    table.add_row("drift", "found" if summary["drift"]["drifted"] else "none found")
    table.add_row("gate", f"{'passed' if summary['gate']['passed'] else 'refused'}: {tally(summary['gate']['checks'])}")
    table.add_row("release", summary["release"]["path"] if summary["release"] else "none")
    serving = summary["serving"]
    if serving:
        table.add_row(
            "serving",
            f"{serving['requests']} requests, p50 {serving['p50_ms']:.1f} ms, p99 {serving['p99_ms']:.1f} ms, "
            f"largest difference to offline scores {serving['max_abs_diff']:.1e}",
        )
    return table
