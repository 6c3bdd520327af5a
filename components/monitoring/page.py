"""The drift page for people: verdicts by market, a heatmap of market x column, then every finding."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from components.contracts.tools.report import Section, Table, write_report
from components.monitoring.embeddings import METHOD as AUC_METHOD
from components.monitoring.findings import Finding, verdict_word

_SCOPES = {
    "feature": "Features",
    "label": "Features",
    "missing": "Missing values",
    "prediction": "Predictions",
    "embedding": "Embeddings",
}
_ROW_PIXELS = 26


def write_page(path: Path, summary: Mapping[str, Any], findings: Sequence[Finding]) -> None:
    """Write the page of a drift.json content (`findings.summarise`) and its findings."""
    sections = [_verdict(summary)]
    for title in dict.fromkeys(_SCOPES.values()):
        shown = [f for f in findings if _SCOPES.get(f.scope) == title and f.tested]
        if shown:
            sections.append(Section(title, _READING[title], figures=[_heatmap(shown)]))
    expected = [f for f in findings if f.expected and f.score is not None]
    if expected:
        text = "These columns move by construction, so they are shown and not judged."
        sections.append(Section("Expected to move", text, tables=[_table(expected)]))
    if summary["untested"]:
        text = "Nothing is said of these: they did not pass, they were not tested."
        sections.append(Section("Not tested", text, tables=[Table(pd.DataFrame(summary["untested"]))]))
    text = "Nearest to its threshold first. Rows are those with a value, before (reference) and now (current)."
    sections.append(Section("All tested columns", text, tables=[_table([f for f in findings if f.tested])]))
    write_report(path, _title(summary), _note(summary), sections)


_READING = {
    "Features": (
        "PSI (population stability index) of the current window against the reference window; 0 is no change. The "
        "darker, the nearer to the threshold; a star marks a drifted column: at or above both the usual threshold and "
        "the noise floor of its market. 'all' is every market together. Distributions are in Evidently's own report, "
        "evidently.html, whose headline counts the columns of 'all' alone."
    ),
    "Missing values": "Change of the share of rows without a value.",
    "Predictions": "PSI of predicted click probabilities, test days against validation days.",
    "Embeddings": "ROC AUC of telling current from reference vectors, of users unseen in training; 0.5 is no drift.",
}


def _title(summary: Mapping[str, Any]) -> str:
    if summary["drifted"]:
        return "Drift found" + (", as the profile expects" if summary["expected"] else "")
    return "No drift found" + (", though the profile expects some" if summary["expected"] else "")


def _note(summary: Mapping[str, Any]) -> str:
    data = {True: "Simulated data. ", False: "Logged data. ", None: ""}[summary["simulated"]]
    windows = "; ".join(f"{name} {value}" for name, value in summary["windows"].items())
    return f"{data}Compared: {windows}."


def _verdict(summary: Mapping[str, Any]) -> Section:
    rows = [
        {
            "market": market,
            "verdict": verdict_word(v),
            "columns tested": v["tested"],
            "drifted": v["drifted_columns"],
            "share": v["share"],
            "because of": ", ".join(v["because"]) or None,
        }
        for market, v in summary["shares"].items()
    ]
    text = "A market drifts when enough of its columns do, or its predictions or embeddings do."
    return Section("Verdict by market", text, tables=[Table(pd.DataFrame(rows), {"share": "percent"})])


def _heatmap(findings: Sequence[Finding]) -> go.Figure:
    """Scores as text; the colour is how near each is to its own threshold, from no drift at all."""
    frame = pd.DataFrame(
        [
            {
                "market": f.market,
                "column": f.column,
                "text": f"{f.score:.2f}" + (" *" if f.drifted else ""),
                "nearness": _nearness(f),
            }
            for f in findings
        ]
    )
    columns, markets = list(dict.fromkeys(frame["column"])), list(dict.fromkeys(frame["market"]))
    text, nearness = (
        frame.pivot(index="column", columns="market", values=name).loc[columns, markets]
        for name in ("text", "nearness")
    )
    figure = go.Figure(
        go.Heatmap(
            z=nearness.to_numpy(dtype=float), x=markets, y=columns, text=text.fillna("").to_numpy(),
            texttemplate="%{text}", colorscale="YlOrRd", zmin=0, zmax=1.5, xgap=2, ygap=2, showscale=False,
            hovertemplate="%{y}, %{x}: %{text}, %{z:.0%} of its threshold<extra></extra>",
        )
    )  # fmt: skip
    figure.update_yaxes(autorange="reversed")
    return figure.update_layout(height=90 + _ROW_PIXELS * len(columns), xaxis_title="market")


def _nearness(finding: Finding) -> float:
    none = 0.5 if finding.method == AUC_METHOD else 0.0
    assert finding.score is not None and finding.threshold is not None
    return max(0.0, (finding.score - none) / (finding.threshold - none))


def _table(findings: Sequence[Finding]) -> Table:
    ordered = sorted(findings, key=_nearness, reverse=True)
    rows = [
        {
            "market": f.market, "column": f.column, "scope": f.scope, "method": f.method, "score": f.score,
            "threshold": f.threshold, "drifted": f.drifted, "reference rows": f.rows_reference,
            "current rows": f.rows_current, "note": f.why or None,
        }
        for f in ordered
    ]  # fmt: skip
    frame = pd.DataFrame(rows)
    return Table(frame.dropna(axis="columns", how="all"))
