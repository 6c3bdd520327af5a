"""The volume report as a page for people."""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from components.contracts.tools.report import Section, write_report
from components.samples.config import SamplesConfig

_VOLUMES = ("rows", "requests", "clicks", "purchases")
_SIGNALS = {"relevance_auc": "relevance", "scored_auc": "is scored", "cosine_auc": "query-title cosine"}


def write_samples_report(path: Path, volumes: Mapping[str, Any], config: SamplesConfig) -> None:
    """Write the HTML page of one `volumes.json`."""
    log = "a simulated log" if volumes["simulated"] else "a log of real behaviour"
    note = (
        f"Measured on {log}. Ratios are to exposed-only training rows; the paper's are those reported for UniScale, "
        f"arXiv 2603.24226. Queries of negatives: {config.negative_query}."
    )
    sections = [
        Section(
            "What each step adds",
            "Training window. Rows and click positives after each step, beside the paper's ratios.",
            tables=[_steps_table(volumes)],
            figures=[_ratio_bars(volumes, "rows"), _ratio_bars(volumes, "clicks"), _waterfall(volumes)],
        ),
        Section(
            "Samples by split, domain and origin",
            "Validation and test hold native search requests only, each with its whole candidate list.",
            tables=[pd.DataFrame(volumes["by_split"])],
        ),
        Section(
            "What became of every non-search click and purchase",
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
            "Query synthesis and its leak",
            "A pseudo query is made from the clicked item, so relevance may give the label away: AUC of one signal "
            "alone. A pseudo bar above the native one is leak, not skill. Scored: the pair has a stored relevance.",
            tables=[
                pd.DataFrame({"query source": volumes["query_sources"].keys(), "n": volumes["query_sources"].values()}),
                pd.DataFrame([{"rows": name, **figures} for name, figures in volumes["leak"].items()]),
            ],
            figures=[_leak_bars(volumes["leak"])],
        ),
    ]
    write_report(path, "Entire-space samples (ES3)", note, sections)


def _steps_table(volumes: Mapping[str, Any]) -> pd.DataFrame:
    rows = []
    for name, step in volumes["steps"].items():
        shown = {key: f"{step[key]:,} (x{step[f'{key}_ratio']:.2f})" for key in _VOLUMES}
        rows.append({"step": name, **shown, **{f"paper: {k}": f"x{v:.1f}" for k, v in volumes["paper"][name].items()}})
    return pd.DataFrame(rows)


def _ratio_bars(volumes: Mapping[str, Any], key: str) -> go.Figure:
    names = list(volumes["steps"])
    measured = [volumes["steps"][name][f"{key}_ratio"] for name in names]
    paper = [volumes["paper"][name][key] for name in names]
    figure = go.Figure([go.Bar(x=names, y=measured, name="measured"), go.Bar(x=names, y=paper, name="paper")])
    title = {"rows": "Rows", "clicks": "Click positives"}[key]
    return figure.update_layout(title=f"{title} relative to exposed-only", barmode="group", height=340)


def _waterfall(volumes: Mapping[str, Any]) -> go.Figure:
    names = list(volumes["steps"])
    clicks = [volumes["steps"][name]["clicks"] for name in names]
    added = [clicks[0], *(after - before for before, after in pairwise(clicks))]
    measures = ["absolute", *["relative"] * (len(names) - 1)]
    figure = go.Figure(go.Waterfall(x=names, y=added, measure=measures, text=[f"{n:,}" for n in added]))
    return figure.update_layout(title="Click positives added by each step", height=340)


def _fate_bars(events: Mapping[str, Mapping[str, int]]) -> go.Figure:
    bars = [go.Bar(y=list(fates), x=list(fates.values()), name=kind, orientation="h") for kind, fates in events.items()]
    return go.Figure(bars).update_layout(title="Non-search events by fate", barmode="group", height=420)


def _leak_bars(leak: Mapping[str, Mapping[str, float | None]]) -> go.Figure:
    bars = [go.Bar(x=list(_SIGNALS.values()), y=[aucs[s] for s in _SIGNALS], name=name) for name, aucs in leak.items()]
    figure = go.Figure(bars).update_layout(title="AUC of one signal alone", barmode="group", height=360)
    return figure.add_hline(y=0.5, line_dash="dot")


def _two_columns(counts: Mapping[str, Mapping[str, int]], label: str) -> pd.DataFrame:
    names = sorted({name for column in counts.values() for name in column})
    return pd.DataFrame([{label: n, **{kind: column.get(n, 0) for kind, column in counts.items()}} for n in names])
