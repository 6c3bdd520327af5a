"""The ranking report: ablation, training curves, ROC, calibration, markets.

Shape suffixes: N rows of the training set.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from components.contracts.blend import Blend
from components.contracts.tools.cells import Estimate, Unit, spell
from components.contracts.tools.report import Section, Table, write_report
from components.ranking.config import RANKING_METRICS, RankingConfig
from components.ranking.dataset import TrainingSet
from components.ranking.evaluation import roc_points
from components.ranking.leak import Leak

_ROC_POINTS = 200


@dataclass(frozen=True)
class Findings:
    """What was measured: see `assessment` for each part's form; `curves` are those of `fitting.Fitted`."""

    ranking: dict[str, dict[str, Any]]
    oracle: dict[str, Any] | None
    markets: dict[str, dict[str, Any]]
    calibration: dict[str, list[dict[str, float]]]
    curves: dict[str, list[dict[str, float]]]
    blend: Blend
    leak: Leak


def write_ranking_report(
    path: Path,
    findings: Findings,
    data: TrainingSet,
    scored: Mapping[str, np.ndarray],
    config: RankingConfig,
    simulated: bool,
) -> None:
    """Write reports/ranking.html."""
    rows = data.rows("test", "exposed")
    requests = len(np.unique(data.request[rows]))
    world = "Simulated data. " if simulated else ""
    note = (
        f"{world}Measured on {len(rows):,} native search exposures of the test part ({requests:,} requests) with their "
        f"native clicks, except where a section says otherwise. Intervals: 95 %, paired bootstrap over requests with "
        f"the fitted models held fixed. Each variant was fitted once."
    )
    sections = [
        Section(
            "Variants",
            f"Every variant saw its own rows {config.epochs} times; the epoch with the best validation AUC is kept. "
            f"Released: {config.released}. Under each figure its 95 % interval.",
            tables=[_variants_table(findings.ranking)],
        ),
        Section(
            f"Gain over {config.baseline}",
            f"What each variant gains over {config.baseline} in points (0.01 is one point) on the same resampled "
            "requests. Where an interval holds 0, these requests do not show which of the two ranks better.",
            tables=[_gains_table(findings.ranking, config.baseline)],
            figures=[_differences(findings.ranking, config.baseline)],
        ),
        Section("Training", "Training loss and AUC on the validation part.", figures=_curves(findings.curves)),
        Section(
            "ROC", "Native clicks of the test part; in brackets the AUC.", figures=[_roc(findings, data, scored, rows)]
        ),
        Section(
            "Calibration",
            "Predicted against actual click rate, ten equal parts of the test exposures; on the dotted line they are "
            "equal. Entire-space variants learn from other labels and another mix of rows; the blend is fitted to "
            "native clicks.",
            figures=[_calibration(findings.calibration)],
        ),
        Section(
            "Markets",
            f"{config.released}, by market. Predicted/actual: mean predicted click probability over the click rate.",
            tables=[_markets_table(findings.markets)],
        ),
        _leak_section(findings.leak, config),
        Section("Blend", "Weights of the released score. " + _blend_text(findings.blend)),
    ]
    if findings.oracle is not None:
        sections.append(_oracle_section(findings.oracle))
    write_report(path, "Ranking", note, sections)


def _leak_section(leak: Leak, config: RankingConfig) -> Section:
    text = (
        "What one signal alone tells of the clicks of training rows. A pseudo request's query is made from the item "
        "that was clicked: rankers learn from ES3 rows only where that gives no label away. Having a score may tell "
        f"AUC {config.max_scored_auc:g} at most, and relevance may be {config.relevance_auc_tolerance:g} from what it "
        "is on natively shown rows. "
    )
    verdict = (
        f"Refused, so that {config.released} was released: {'; '.join(leak.reasons)}." if leak.reasons else "Kept."
    )
    rows = [
        {"rows": "pseudo", "AUC of being scored": leak.scored, "AUC of relevance": leak.relevance},
        {"rows": "natively shown", "AUC of being scored": None, "AUC of relevance": leak.native},
    ]
    return Section("Leak", text + verdict, tables=[Table(pd.DataFrame(rows))])


def _variants_table(ranking: Mapping[str, dict[str, Any]]) -> Table:
    rows = [
        {"variant": name}
        | {metric.upper(): Estimate.of(figures[metric], figures["interval"][metric]) for metric in RANKING_METRICS}
        | {"predicted/actual": figures["calibration"]}
        for name, figures in ranking.items()
    ]
    return Table(pd.DataFrame(rows))


def _gains_table(ranking: Mapping[str, dict[str, Any]], baseline: str) -> Table:
    rows = [
        {"variant": name} | {metric.upper(): Estimate(*figures["difference"][metric]) for metric in RANKING_METRICS}
        for name, figures in ranking.items()
        if name != baseline
    ]
    return Table(pd.DataFrame(rows), dict.fromkeys(map(str.upper, RANKING_METRICS), "points"))


def _markets_table(markets: Mapping[str, dict[str, Any]]) -> Table:
    counts = ("exposures", "requests", "clicks")
    rows = [
        {"market": name}
        | {count: figures[count] for count in counts}
        | {"AUC": figures["auc"], "GAUC": figures["gauc"]}
        | {"predicted/actual": Estimate.of(figures["calibration"], figures["calibration_interval"])}
        for name, figures in markets.items()
    ]
    return Table(pd.DataFrame(rows))


def _differences(ranking: Mapping[str, dict[str, Any]], baseline: str) -> go.Figure:
    figure = go.Figure()
    names = [name for name in ranking if name != baseline]
    for metric in ("auc", "gauc"):
        value, low, high = (
            np.array([100 * (ranking[name]["difference"][metric][i] or 0.0) for name in names]) for i in range(3)
        )
        error = {"type": "data", "array": high - value, "arrayminus": value - low}
        figure.add_bar(name=metric.upper(), x=value, y=names, error_x=error, orientation="h")
    figure.update_yaxes(autorange="reversed")
    return figure.update_layout(
        barmode="group", xaxis_title=f"points over {baseline}", height=150 + 50 * len(names), legend_traceorder="normal"
    )


def _curves(curves: Mapping[str, list[dict[str, float]]]) -> list[go.Figure]:
    figures = []
    for key, title in (("loss", "training loss"), ("valid_auc", "validation AUC")):
        figure = go.Figure()
        for name, curve in curves.items():
            figure.add_scatter(name=name, x=[p["epoch"] for p in curve], y=[p[key] for p in curve])
        figures.append(figure.update_layout(xaxis_title="epoch", xaxis_dtick=1, yaxis_title=title))
    return figures


def _roc(findings: Findings, data: TrainingSet, scored: Mapping[str, np.ndarray], rows: np.ndarray) -> go.Figure:
    figure = go.Figure()
    for name, score_N in scored.items():
        false_rate, true_rate, _ = roc_points(data.native[rows, 0], score_N[rows], _ROC_POINTS)
        auc = spell(findings.ranking[name]["auc"])
        figure.add_scatter(name=f"{name} ({auc})", x=false_rate, y=true_rate, mode="lines")
    figure.add_scatter(name="chance", mode="lines", x=[0, 1], y=[0, 1], line={"dash": "dot", "color": "#9aa7b4"})
    return figure.update_layout(xaxis_title="false positive rate", yaxis_title="true positive rate", height=460)


def _calibration(calibration: Mapping[str, list[dict[str, float]]]) -> go.Figure:
    figure = go.Figure()
    for name, parts in calibration.items():
        figure.add_scatter(
            name=name, x=[p["predicted"] for p in parts], y=[p["actual"] for p in parts], mode="lines+markers"
        )
    most = max(p["actual"] for parts in calibration.values() for p in parts)
    figure.add_scatter(
        x=[0, most], y=[0, most], mode="lines", line={"dash": "dot", "color": "#9aa7b4"}, showlegend=False
    )
    return figure.update_layout(
        xaxis_title="predicted click rate",
        yaxis_title="actual click rate",
        xaxis_tickformat=".0%",
        yaxis_tickformat=".0%",
        height=420,
    )


def _blend_text(blend: Blend) -> str:
    relevance, click, purchase = blend.weights
    return (
        f"score = sigmoid({blend.bias:+.3f} {relevance:+.3f} logit relevance {click:+.3f} logit p_click "
        f"{purchase:+.3f} logit p_purchase), fitted on the validation part's native clicks."
    )


def _oracle_section(oracle: Mapping[str, Any]) -> Section:
    table = pd.DataFrame([{"variant": k, **v} for k, v in oracle.items() if isinstance(v, dict)])
    text = (
        f"Simulated only: {oracle['rows']:,} search candidates of the test part ({oracle['exposed_rows']:,} exposed) "
        "against the simulator's ground-truth utility. Agreement: share of a request's pairs put in the utilities' "
        "order, chance 50 %; exposed agreement: among exposed candidates only. Expected AUC: that of the exposed "
        "candidates when their clicks are drawn again and again. No interval was computed for these."
    )
    units: dict[str, Unit] = {"agreement": "percent", "exposed_agreement": "percent"}
    names = {"ndcg@10": "NDCG@10", "expected_auc": "expected AUC"}
    return Section("Ground truth", text, tables=[Table(table.rename(columns=names), units)])
