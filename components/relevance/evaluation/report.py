"""The relevance model's HTML report.

Shape suffixes: S seeds, n pairs.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from sklearn.metrics import roc_curve

from components.contracts.tools.cells import Estimate, spell
from components.contracts.tools.manifest import read_json, read_manifest, write_json
from components.contracts.tools.report import Section, Table, write_report
from components.relevance.config import MIXTURE
from components.relevance.fitting.crossfit import CrossFit
from components.relevance.fitting.fit import History
from components.relevance.judgments.judged import Judged

ROC_FILE = "roc.json"
_MAX_POINTS = 300


@dataclass(frozen=True)
class RelevanceFigures:
    """What the report shows.

    Attributes:
        data, crossed, metrics: as trained and evaluated.
        relevance: calibrated out-of-fold relevance of the mixture (n,).
        shares: routing share (markets, experts) of the released model.
        history: losses of the released model.
        experts: names in slot order.
        simulated: whether the judgments are simulated.
    """

    data: Judged
    crossed: CrossFit
    metrics: dict[str, Any]
    relevance: np.ndarray
    shares: np.ndarray
    history: History
    experts: tuple[str, ...]
    simulated: bool


def write_relevance_report(model: Path, figures: RelevanceFigures) -> None:
    """Write reports/relevance.html, and the mixture's ROC curve as roc.json, into the model's directory."""
    false_rate, true_rate, cut = roc_points(figures.data.label.numpy(), figures.relevance)
    # The first cut is infinite ("nothing is relevant"), which JSON cannot hold.
    curve = {"false_positive_rate": false_rate, "true_positive_rate": true_rate, "threshold": np.minimum(cut, 1.0)}
    write_json(model / ROC_FILE, {name: values.tolist() for name, values in curve.items()})
    data = figures.data
    kind = "Simulated judgments" if figures.simulated else "Judgments as given"
    seeds = len(next(iter(figures.crossed.logits.values())))
    note = (
        f"{kind}: {len(data):,} pairs of {data.frame['query'].nunique():,} queries in {len(data.markets)} markets, "
        f"{int(data.label.sum()):,} relevant. Every AUC is out of fold, folds grouped by query text; intervals are "
        f"95 %, from resampling queries with the fitted models held fixed. {_rounds(seeds)}"
    )
    sections = [
        Section(
            "AUC per market",
            "Under each figure its 95 % interval. Two intervals that overlap do not say that two variants are equally "
            "good: the next table compares them query by query.",
            [auc_table(figures.metrics, data.markets)],
        ),
        Section(
            "Mixture against the other variants",
            "What the mixture gains in points of AUC (0.01 is one point) on the same resampled queries. Where an "
            "interval holds 0, these judgments do not show which of the two is better.",
            [delta_table(figures.metrics, data.markets)],
        ),
        Section(
            "Quality and cost",
            "Active parameters: what runs for a pair on average, embedding tables left out. NDCG is over the queries "
            "whose items have different grades.",
            [quality_table(figures.metrics)],
        ),
        Section(
            "Which expert in which market",
            "Out-of-fold AUC of each expert alone: where the best one changes with the market, experts complement each "
            "other.",
            figures=[complementarity_figure(figures)],
        ),
        Section(
            "ROC curves",
            "Pooled over markets, out of fold; in brackets the AUC. Dotted: chance.",
            figures=[roc_figure(figures)],
        ),
        Section(
            "Routing",
            "Share of each market's judged pairs whose query chose the expert; a row sums to the number of experts "
            "chosen. Entropy: 1 where a variant's router spreads pairs evenly over the experts, 0 where one expert has "
            "all.",
            [balance_table(figures.metrics)],
            [routing_figure(figures)],
        ),
        Section(
            "Spaces",
            "Of the experts as pooled, as normed for the mixture's slots, and of what each variant's head reads. Mean "
            "cosine: 0 where directions are spread evenly. Top share: of the variance, along one direction. IsoScore: "
            "1 where all directions have the same variance. CKA: 1 where two experts' spaces are alike but for a "
            "rotation; Procrustes: what the best rotation leaves unexplained.",
            [spaces_table(figures.metrics), pairs_table(figures.metrics)],
        ),
        Section(
            "Calibration",
            "Out-of-fold relevance in ten bins of equal size; on the dotted line a prediction is the observed share.",
            figures=[calibration_figure(figures)],
        ),
        Section(
            "Training",
            "Loss of the released model in each epoch; the dotted line marks the epoch that was kept.",
            figures=[training_figure(figures.history)],
        ),
        Section(
            "Texts that were too long",
            "Share of each market's pairs, judged or not, whose query or item lost tokens because both together "
            "did not fit (max_tokens); an item keeps half of the room at least.",
            [cut_table(figures.metrics)],
        ),
        Section(
            "Thresholds and licences",
            "Threshold: the relevance from which behaviour may be attributed to a query (theta in the paper).",
            [
                Table(pd.DataFrame(figures.metrics["thresholds"].items(), columns=["market", "threshold"])),
                Table(pd.DataFrame(figures.metrics["licences"].items(), columns=["expert", "licence"])),
            ],
        ),
    ]
    write_report(model / "reports" / "relevance.html", "Relevance", note, sections)


def auc_table(metrics: dict[str, Any], markets: tuple[str, ...]) -> Table:
    """Variants x (markets, macro, pooled), each with its interval."""
    rows = []
    for variant, row in metrics["relevance"].items():
        cells = {name: Estimate.of(row[name], row["interval"][name]) for name in (*markets, "macro", "pooled")}
        rows.append({"variant": variant} | cells)
    return Table(pd.DataFrame(rows))


def delta_table(metrics: dict[str, Any], markets: tuple[str, ...]) -> Table:
    """The mixture's advantage over each variant, in each market that has both classes, macro and pooled."""
    names = (*markets, "macro", "pooled")
    rows = [
        {"mixture minus": variant}
        | {
            name: Estimate.of(row[name]["mixture_minus"], row[name]["interval"]) if name in row else None
            for name in names
        }
        for variant, row in metrics["deltas"].items()
    ]
    return Table(pd.DataFrame(rows), dict.fromkeys(names, "points"))


def quality_table(metrics: dict[str, Any]) -> Table:
    """Pooled AUC, PR-AUC, NDCG@10 and active parameters per variant, and the spread of the pooled AUC over seeds."""
    rows = []
    for variant, quality in metrics["quality"].items():
        active, head = metrics["active_parameters"].get(variant), metrics["head_parameters"].get(variant)
        seeds = metrics["seeds"][variant]
        rows.append(
            {"variant": variant, "pooled AUC": metrics["relevance"][variant]["pooled"]}
            | ({"lowest seed": min(seeds), "highest seed": max(seeds)} if len(seeds) > 1 else {})
            | {"PR-AUC": quality["pr_auc"], "NDCG@10": quality["ndcg@10"]}
            | {"active parameters (M)": None if active is None else active / 1e6}
            | {"head parameters (M)": None if head is None else head / 1e6}
        )
    return Table(pd.DataFrame(rows))


def balance_table(metrics: dict[str, Any]) -> Table:
    """Entropy of each variant's routing, and whether its router collapsed."""
    rows = [
        {"variant": variant, "entropy": row["entropy"], "collapsed": "YES" if row["collapsed"] else "no"}
        for variant, row in metrics["balance"].items()
    ]
    return Table(pd.DataFrame(rows))


def spaces_table(metrics: dict[str, Any]) -> Table:
    """Anisotropy of every space."""
    frame = pd.DataFrame([{"space": name} | row for name, row in metrics["spaces"]["spaces"].items()])
    return Table(frame.rename(columns={"isoscore": "IsoScore"}), {"top_share": "percent"})


def pairs_table(metrics: dict[str, Any]) -> Table:
    """How alike the spaces of two experts are."""
    frame = pd.DataFrame(metrics["spaces"]["pairs"])
    names = {"left": "expert", "right": "other expert", "cka": "CKA", "procrustes": "Procrustes"}
    return Table(frame.rename(columns=names), {"Procrustes": "percent"})


def cut_table(metrics: dict[str, Any]) -> Table:
    """What each expert could not read whole, by market."""
    rows = [
        {"expert": expert, "market": market, "pairs": own["pairs"]}
        | {f"{part} cut": own[f"of_{part}"] / own["pairs"] for part in ("query", "item")}
        for expert, markets in metrics["cut"].items()
        for market, own in markets.items()
    ]
    columns = ["expert", "market", "pairs", "query cut", "item cut"]
    return Table(pd.DataFrame(rows, columns=columns), {"query cut": "percent", "item cut": "percent"})


def complementarity_figure(figures: RelevanceFigures) -> go.Figure:
    """Heat map of AUC, experts by markets."""
    rows = [[figures.metrics["relevance"][name][market] for market in figures.data.markets] for name in figures.experts]
    return go.Figure(
        go.Heatmap(
            z=rows,
            x=list(figures.data.markets),
            y=list(figures.experts),
            text=[["n/a" if value is None else f"{value:.3f}" for value in row] for row in rows],
            texttemplate="%{text}",
            colorscale="Blues",
            showscale=False,
        )
    ).update_layout(height=100 + 40 * len(figures.experts), xaxis_title="market")


def roc_figure(figures: RelevanceFigures) -> go.Figure:
    """One curve per variant, of the first seed."""
    figure = go.Figure()
    for variant, logits_Sn in figures.crossed.logits.items():
        false_rate, true_rate, _ = roc_points(figures.data.label.numpy(), logits_Sn[0])
        pooled = figures.metrics["relevance"][variant]["pooled"]
        figure.add_scatter(x=false_rate, y=true_rate, mode="lines", name=f"{variant} ({spell(pooled)})")
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", line={"dash": "dot", "color": "#aab"}, showlegend=False)
    return figure.update_layout(xaxis_title="false positive rate", yaxis_title="true positive rate", height=480)


def roc_points(label: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """False and true positive rates and the cuts between them, thinned to what a picture shows."""
    curve = roc_curve(label, score)
    points = np.linspace(0, len(curve[0]) - 1, min(_MAX_POINTS, len(curve[0]))).astype(int)
    false_rate, true_rate, cut = (values[points] for values in curve)
    return false_rate, true_rate, cut


def routing_figure(figures: RelevanceFigures) -> go.Figure:
    """Heat map of shares, experts by markets."""
    shares = figures.shares
    return go.Figure(
        go.Heatmap(
            z=shares,
            x=list(figures.experts),
            y=list(figures.data.markets),
            texttemplate="%{z:.0%}",
            zmin=0,
            zmax=1,
            colorscale="Blues",
            showscale=False,
        )
    ).update_layout(height=120 + 36 * len(figures.data.markets), xaxis_title="expert", yaxis_title="market")


def calibration_figure(figures: RelevanceFigures) -> go.Figure:
    """Observed share of relevant pairs over predicted relevance."""
    label = figures.data.label.numpy()
    parts = [part for part in np.array_split(np.argsort(figures.relevance, kind="stable"), 10) if len(part)]
    figure = go.Figure()
    figure.add_scatter(
        x=[figures.relevance[part].mean() for part in parts],
        y=[label[part].mean() for part in parts],
        mode="lines+markers",
        name="observed",
    )
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", line={"dash": "dot", "color": "#aab"}, showlegend=False)
    return figure.update_layout(
        xaxis_title="predicted relevance", yaxis_title="relevant share", yaxis_tickformat=".0%", showlegend=False
    )


def training_figure(history: History) -> go.Figure:
    """Training and validation loss per epoch, the kept epoch marked."""
    epochs = list(range(1, len(history.train) + 1))
    figure = go.Figure()
    figure.add_scatter(x=epochs, y=history.train, mode="lines", name="training")
    figure.add_scatter(x=epochs, y=history.valid, mode="lines", name="validation")
    figure.add_vline(x=history.best + 1, line_dash="dot")
    return figure.update_layout(xaxis_title="epoch", yaxis_title="cross-entropy")


def _rounds(seeds: int) -> str:
    return f"Figures are means over {seeds} seeds." if seeds > 1 else "One seed."


def log_artifacts(model: Path, metrics: Any, roc: Any, report: Path) -> None:
    """Fill KFP's artifacts from a trained model's directory: headline figures, the mixture's ROC curve, the page."""
    manifest = read_manifest(model)
    for variant, row in manifest["metrics"]["relevance"].items():
        for figure in ("macro", "pooled"):
            if row[figure] is not None:
                metrics.log_metric(f"auc_{figure}_{variant}", row[figure])
    curve = read_json(model / ROC_FILE)
    roc.log_roc_curve(curve["false_positive_rate"], curve["true_positive_rate"], curve["threshold"])
    shutil.copyfile(model / "reports" / "relevance.html", report)


def headline(model: Path) -> dict[str, Any]:
    """The released mixture's AUC, pooled and by market, each with its 95 % interval, as an artifact's metadata."""
    row = read_manifest(model)["metrics"]["relevance"][MIXTURE.name]
    intervals = row["interval"]
    measured = {name: value for name, value in row.items() if name != "interval" and value is not None}
    return {
        "auc": {name: round(value, 6) for name, value in measured.items()},
        "intervals": {name: intervals[name] for name in measured if intervals.get(name)},
    }
