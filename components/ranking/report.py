"""The ranking report: ablation, training curves, ROC, calibration, markets."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from components.contracts.blend import Blend
from components.contracts.tools.report import Section, write_report
from components.ranking.config import RANKING_METRICS, RankingConfig
from components.ranking.dataset import TrainingSet
from components.ranking.evaluation import roc_points

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
        f"{world}Measured on {len(rows)} native search exposures of the test part ({requests} requests) with their "
        f"native clicks, unless a section says otherwise. Intervals: 95 %, paired bootstrap over requests."
    )
    sections = [
        Section(
            "Variants",
            f"Every variant saw its own rows {config.epochs} times; the epoch with the best validation AUC is kept. "
            f"Released: {config.released}. Bars: difference to {config.baseline}, in points of AUC and GAUC.",
            tables=[_variants_table(findings.ranking)],
            figures=[_differences(findings.ranking, config.baseline)],
        ),
        Section("Training", "Loss per epoch and AUC on the validation part.", figures=_curves(findings.curves)),
        Section("ROC", "Native clicks of the test part.", figures=[_roc(data, scored, rows)]),
        Section(
            "Calibration",
            "Predicted against actual click rate, ten equal parts of the test exposures. Entire-space variants learn "
            "from other labels and another mix of rows; the blend is fitted to native clicks.",
            figures=[_calibration(findings.calibration)],
        ),
        Section("Markets", f"{config.released}, by market.", tables=[_markets_table(findings.markets)]),
        Section("Blend", _blend_text(findings.blend)),
    ]
    if findings.oracle is not None:
        sections.append(_oracle_section(findings.oracle))
    write_report(path, "Ranking", note, sections)


def _variants_table(ranking: Mapping[str, dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"variant": name}
            | {metric: figures[metric] for metric in RANKING_METRICS}
            | {"AUC interval": _range(figures["interval"]["auc"]), "GAUC interval": _range(figures["interval"]["gauc"])}
            | {"predicted/actual": figures["calibration"]}
            for name, figures in ranking.items()
        ]
    )


def _markets_table(markets: Mapping[str, dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame([{"market": name, **figures} for name, figures in markets.items()])


def _differences(ranking: Mapping[str, dict[str, Any]], baseline: str) -> go.Figure:
    figure = go.Figure()
    names = [name for name in ranking if name != baseline]
    for metric in ("auc", "gauc"):
        value, low, high = (
            np.array([100 * (ranking[name]["difference"][metric][i] or 0.0) for name in names]) for i in range(3)
        )
        error = {"type": "data", "array": high - value, "arrayminus": value - low}
        figure.add_bar(name=metric.upper(), x=names, y=value, error_y=error)
    return figure.update_layout(barmode="group", yaxis_title=f"points over {baseline}", height=380)


def _curves(curves: Mapping[str, list[dict[str, float]]]) -> list[go.Figure]:
    figures = []
    for key, title in (("loss", "training loss"), ("valid_auc", "validation AUC")):
        figure = go.Figure()
        for name, curve in curves.items():
            figure.add_scatter(name=name, x=[p["epoch"] for p in curve], y=[p[key] for p in curve])
        figures.append(figure.update_layout(xaxis_title="epoch", xaxis_dtick=1, yaxis_title=title, height=320))
    return figures


def _roc(data: TrainingSet, scored: Mapping[str, np.ndarray], rows: np.ndarray) -> go.Figure:
    figure = go.Figure()
    for name, score_N in scored.items():
        false_rate, true_rate, _ = roc_points(data.native[rows, 0], score_N[rows], _ROC_POINTS)
        figure.add_scatter(name=name, x=false_rate, y=true_rate)
    figure.add_scatter(name="chance", x=[0, 1], y=[0, 1], line={"dash": "dot", "color": "#9aa7b4"})
    return figure.update_layout(xaxis_title="false positive rate", yaxis_title="true positive rate", height=460)


def _calibration(calibration: Mapping[str, list[dict[str, float]]]) -> go.Figure:
    figure = go.Figure()
    for name, parts in calibration.items():
        figure.add_scatter(
            name=name, x=[p["predicted"] for p in parts], y=[p["actual"] for p in parts], mode="lines+markers"
        )
    most = max(p["actual"] for parts in calibration.values() for p in parts)
    figure.add_scatter(name="exact", x=[0, most], y=[0, most], line={"dash": "dot", "color": "#9aa7b4"})
    return figure.update_layout(xaxis_title="predicted", yaxis_title="clicked", height=420)


def _blend_text(blend: Blend) -> str:
    relevance, click, purchase = blend.weights
    return (
        f"score = sigmoid({blend.bias:+.3f} {relevance:+.3f} logit relevance {click:+.3f} logit p_click "
        f"{purchase:+.3f} logit p_purchase), fitted on the validation part's native clicks."
    )


def _oracle_section(oracle: Mapping[str, Any]) -> Section:
    table = pd.DataFrame([{"variant": k, **v} for k, v in oracle.items() if isinstance(v, dict)])
    text = (
        f"Simulated only: {oracle['rows']} search candidates of the test part ({oracle['exposed_rows']} exposed) "
        "against the simulator's ground-truth utility. agreement: share of a request's pairs put in the utilities' "
        "order, chance 0.5; exposed_agreement: among exposed candidates only."
    )
    return Section("Ground truth", text, tables=[table])


def _range(interval: list[float | None]) -> str:
    low, high = interval
    return "-" if low is None or high is None else f"{low:.4f} .. {high:.4f}"
