"""The volume report as a page for people."""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from textwrap import wrap
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from components.contracts.tools.report import Section, Table, write_report
from components.samples.config import SamplesConfig
from components.samples.volumes import counted

_VOLUMES = ("rows", "requests", "clicks", "purchases")
_SIGNALS = {"relevance_auc": "relevance", "scored_auc": "being scored", "cosine_auc": "query-title cosine"}


def write_samples_report(path: Path, volumes: Mapping[str, Any], config: SamplesConfig) -> None:
    """Write the HTML page of one `volumes.json`."""
    log = "a simulated log" if volumes["simulated"] else "a log of real behaviour"
    note = (
        f"Measured on {log}. Ratios are to the training rows of exposed items alone; the paper's are those reported "
        f"for UniScale, arXiv 2603.24226. {_departures(config)}"
    )
    sections = [
        Section(
            "What each step adds",
            "Training window. What there is after each step, beside the ratios that the paper reports.",
            tables=[_steps_table(volumes), _ratios_table(volumes)],
            figures=[_ratio_bars(volumes, "rows"), _ratio_bars(volumes, "clicks"), _waterfall(volumes)],
        ),
        Section(
            "Samples by split, domain and origin",
            "Validation and test hold native search requests only, each with its whole candidate list. "
            f"Search requests that were dropped since their labels are not complete: {counted(volumes['immature'])}. "
            + _wanted(volumes),
            tables=[Table(pd.DataFrame(volumes["by_split"]))],
        ),
        Section(
            "What became of every click and purchase outside search",
            "Each event has exactly one fate. Attribution stays before the validation boundary, "
            "and only the training window is kept.",
            tables=[_two_columns(volumes["events"], "fate")],
            figures=[_fate_bars(volumes["events"])],
        ),
        Section(
            "Attribution",
            "Tiers of the search rows that were credited, and why the other events before the boundary found none.",
            tables=[_two_columns(volumes["tiers"], "tier"), _two_columns(volumes["misses"], "reason")],
        ),
        Section(
            "Coverage: are unexposed positives found?",
            "Of the clicks that unexposed candidates of the training window would have earned, how many attribution "
            "found. Where the share is low, most unexposed rows with label 0 are wrong, and a ranker learns that what "
            "was not shown is not clicked. The estimate asks natively shown rows of the same market and relevance; "
            "the truth is a simulated log's alone.",
            tables=[_coverage_table(volumes["coverage"])],
            figures=[_coverage_bars(volumes["coverage"])],
        ),
        Section(
            "Query synthesis and its leak",
            "A pseudo query is made from the clicked item, so that a signal may give the label away. The AUC of one "
            "signal alone shows it: where the pseudo bar is above the native one, that is leak and no skill. Scored: "
            "the pair had a relevance before this step. The pairs that it adds are scored after it, and what leaks "
            "then is judged where rankers are trained.",
            tables=[_sources_table(volumes["query_sources"]), _leak_table(volumes["leak"])],
            figures=[_leak_bars(volumes["leak"])],
        ),
    ]
    write_report(path, "Entire-space samples (ES3)", note, sections)


def _departures(config: SamplesConfig) -> str:
    """In what the labels differ from the paper's, as a sentence."""
    if not config.departures:
        return "Labels as in the paper."
    options = (f"{name} {values['here']} ({values['paper']})" for name, values in config.departures.items())
    return f"Labels that depart from the paper's (whose value is in brackets): {', '.join(options)}."


def _wanted(volumes: Mapping[str, Any]) -> str:
    """What was left out of the negatives, as a sentence."""
    listed, pages = (volumes["wanted"].get(name, 0) for name in ("expansion", "searchification"))
    return (
        f"Of the training window, {listed:,} unexposed candidates and {pages:,} items of pages outside search are no "
        "negatives, as the user clicked or bought them soon after."
    )


def _coverage_table(coverage: Mapping[str, Mapping[str, float | None]]) -> Table:
    columns = {
        "unexposed": "unexposed rows",
        "recovered": "positives found",
        "expected": "expected, truth",
        "estimated": "expected, estimate",
        "share": "coverage, truth",
        "estimated_share": "coverage, estimate",
        "chance": "mean true chance",
        "chance_of_recovered": "of those found",
    }
    rows = [{"market": name} | {columns[key]: row[key] for key in columns} for name, row in coverage.items()]
    shares = ("share", "estimated_share", "chance", "chance_of_recovered")
    return Table(pd.DataFrame(rows), {columns[key]: "percent" for key in shares})


def _coverage_bars(coverage: Mapping[str, Mapping[str, float | None]]) -> go.Figure:
    kinds = {"share": "against the truth (simulated)", "estimated_share": "against the estimate"}
    bars = [
        go.Bar(x=list(coverage), y=[row[key] for row in coverage.values()], name=name)
        for key, name in kinds.items()
        if any(row[key] is not None for row in coverage.values())
    ]
    figure = go.Figure(bars).update_layout(
        title="Share of unexposed positives that attribution found", barmode="group", yaxis_title="coverage"
    )
    return figure.update_yaxes(tickformat=".0%")


def _steps_table(volumes: Mapping[str, Any]) -> Table:
    rows = [{"step": name, **{key: step[key] for key in _VOLUMES}} for name, step in volumes["steps"].items()]
    return Table(pd.DataFrame(rows))


def _ratios_table(volumes: Mapping[str, Any]) -> Table:
    """Measured ratios to the first step, and the paper's where it reports one."""
    rows = []
    for name, step in volumes["steps"].items():
        measured = {f"{key}, ratio": step[f"{key}_ratio"] for key in _VOLUMES}
        rows.append({"step": name, **measured, **{f"{k}, paper": v for k, v in volumes["paper"][name].items()}})
    return Table(pd.DataFrame(rows))


def _sources_table(sources: Mapping[str, int]) -> Table:
    return Table(pd.DataFrame({"query source": sources.keys(), "pseudo requests": sources.values()}))


def _leak_table(leak: Mapping[str, Mapping[str, float | None]]) -> Table:
    rows = [
        {"rows": name}
        | {f"AUC of {signal}": aucs[key] for key, signal in _SIGNALS.items()}
        | {"positives scored": aucs["scored_share_of_positives"], "negatives scored": aucs["scored_share_of_negatives"]}
        for name, aucs in leak.items()
    ]
    return Table(pd.DataFrame(rows), {"positives scored": "percent", "negatives scored": "percent"})


def _ratio_bars(volumes: Mapping[str, Any], key: str) -> go.Figure:
    names = list(volumes["steps"])
    measured = [volumes["steps"][name][f"{key}_ratio"] for name in names]
    paper = [volumes["paper"][name][key] for name in names]
    figure = go.Figure([go.Bar(x=names, y=measured, name="measured"), go.Bar(x=names, y=paper, name="paper")])
    title = {"rows": "Rows", "clicks": "Rows with a click"}[key]
    return figure.update_layout(
        title=f"{title}, ratio to exposed only", barmode="group", yaxis_title="ratio to exposed only"
    )


def _waterfall(volumes: Mapping[str, Any]) -> go.Figure:
    names = list(volumes["steps"])
    clicks = [volumes["steps"][name]["clicks"] for name in names]
    added = [clicks[0], *(after - before for before, after in pairwise(clicks))]
    measures = ["absolute", *["relative"] * (len(names) - 1)]
    figure = go.Figure(
        go.Waterfall(x=names, y=added, measure=measures, text=[f"{n:,}" for n in added], textposition="outside")
    )
    return figure.update_layout(
        title="Rows with a click that each step adds", yaxis_title="rows", yaxis_range=[0, 1.15 * max(clicks)]
    )


def _fate_bars(events: Mapping[str, Mapping[str, int]]) -> go.Figure:
    bars = [
        go.Bar(y=["<br>".join(wrap(fate, 20)) for fate in fates], x=list(fates.values()), name=kind, orientation="h")
        for kind, fates in events.items()
    ]
    return go.Figure(bars).update_layout(
        title="Events outside search, by fate", barmode="group", height=420, xaxis_title="events"
    )


def _leak_bars(leak: Mapping[str, Mapping[str, float | None]]) -> go.Figure:
    bars = [go.Bar(x=list(_SIGNALS.values()), y=[aucs[s] for s in _SIGNALS], name=name) for name, aucs in leak.items()]
    figure = go.Figure(bars).update_layout(
        title="AUC of one signal alone (dotted: chance)", barmode="group", yaxis_title="AUC"
    )
    return figure.add_hline(y=0.5, line_dash="dot")


def _two_columns(counts: Mapping[str, Mapping[str, int]], label: str) -> Table:
    names = sorted({name for column in counts.values() for name in column})
    rows = [{label: n, **{f"{kind}s": column.get(n, 0) for kind, column in counts.items()}} for n in names]
    return Table(pd.DataFrame(rows))
