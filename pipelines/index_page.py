"""`index.html` of a run: what it found, what that shows, and a link to every report."""

import html
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from components.contracts.tools.cells import Estimate, spell
from components.contracts.tools.report import Table, html_table, write_page
from components.release.conclusions import COMPARED_BY, RELEASED, conclusions, ranking_gains, relevance_gains
from pipelines.next_steps import try_next

INDEX = "index.html"
# Report -> what it shows.
REPORTS = {
    "index": "all of this on one page, with links",
    "marketplace": "what the log holds: volumes, clicks, items and judgments of each market",
    "relevance": "how well each variant tells relevant from irrelevant items, and which experts are asked where",
    "samples": "what entire-space sampling (ES3) adds to the exposed rows, and what became of every event",
    "features": "which features are known, and how their values are spread, by market",
    "ranking": "how well each ranker predicts clicks, and what it gains over the baseline",
    "drift": "which columns differ between the earlier and the latest data",
    "evidently": "the columns of a market that moved in Evidently's own report, with their distributions",
    "gate": "which checks decided whether there is a release",
}


def write_index(summary: Mapping[str, Any], out: Path) -> Path:
    """Write `out/index.html`, whose links are relative, so that the folder may be moved; its path."""
    world = "Simulated data" if summary["simulated"] else "Logged data"
    until = f", up to {summary['as_of'][:10]}" if summary["as_of"] else ""  # judgments alone carry no time
    note = f"{world} of {', '.join(summary['markets'])}{until}."
    parts = [
        f"<h1>Run {html.escape(out.name)}</h1><p class=note>{html.escape(note)}</p>",
        "<h2>What this run shows, and what it does not</h2>",
        _list(map(html.escape, conclusions(summary))),
        "<h2>Reports</h2>",
        _list(_links(summary["reports"], out)),
        "<h2>Relevance</h2>",
        f"<p>Out-of-fold AUC with 95 % intervals, and what the {RELEASED} gains over each other variant in points.</p>",
        html_table(_relevance(summary)),
    ]
    if summary["ranking"]:
        baseline = html.escape(summary["baseline"])
        parts += [
            "<h2>Ranking</h2>",
            f"<p>Search exposures of the test days, 95 % intervals, and what is gained over {baseline} in points.</p>",
            html_table(_ranking(summary)),
        ]
    parts += ["<h2>The run</h2>", html_table(_facts(summary))]
    if commands := try_next(summary):
        parts += ["<h2>Try next</h2>", *(f"<pre>{html.escape(command)}</pre>" for command in commands)]
    write_page(out / INDEX, f"Run {out.name}", "".join(parts))
    return out / INDEX


def _list(entries: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{entry}</li>' for entry in entries)}</ul>"


def _links(reports: Mapping[str, str], out: Path) -> Iterable[str]:
    for name, path in reports.items():
        target = html.escape(Path(path).relative_to(out).as_posix())
        shows = html.escape(REPORTS.get(kind(name), "a report of the run"))
        yield f'<a href="{target}">{html.escape(name)}</a>: {shows}'


def kind(report: str) -> str:
    """The entry of `REPORTS` that a report is: of one that has a page a market, "evidently-TH", "evidently"."""
    return report.partition("-")[0]


def _relevance(summary: Mapping[str, Any]) -> Table:
    gains = relevance_gains(summary)
    rows = [
        {
            "variant": variant,
            "pooled": Estimate.of(row["pooled"], row["interval"]["pooled"]),
            "mean over markets": Estimate.of(row["macro"], row["interval"]["macro"]),
            f"{RELEASED} gains": gains.get(variant),
        }
        for variant, row in sorted(summary["relevance"].items(), key=lambda entry: -entry[1]["pooled"])
    ]
    return Table(pd.DataFrame(rows), {f"{RELEASED} gains": "points"})


def _ranking(summary: Mapping[str, Any]) -> Table:
    gains = {metric: ranking_gains(summary, metric) for metric in COMPARED_BY}
    rows = [
        {"variant": variant}
        | {metric.upper(): Estimate.of(row[metric], row["interval"][metric]) for metric in COMPARED_BY}
        | {f"gain in {metric.upper()}": gains[metric].get(variant) for metric in COMPARED_BY}
        for variant, row in summary["ranking"].items()
    ]
    return Table(pd.DataFrame(rows), {f"gain in {metric.upper()}": "points" for metric in COMPARED_BY})


def _facts(summary: Mapping[str, Any]) -> Table:
    serving = summary["serving"]
    facts = {
        "steps": f"{spell(sum(summary['stages'].values()) / 60)} minutes in all",
        "drift": "found" if summary["drift"]["drifted"] else "none found",
        "gate": summary["gate"]["decision"],
        "release": summary["release"]["digest"] if summary["release"] else "none",
    }
    if serving:
        facts["serving"] = (
            f"{serving['requests']} requests, half of them within {spell(serving['p50_ms'])} ms, largest difference to "
            f"offline scores {serving['max_abs_diff']:.1e}"
        )
    return Table(pd.DataFrame(facts.items(), columns=["what", "result"]))
