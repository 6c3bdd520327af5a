"""Evidently's own report on compared columns: its scores, its HTML page and its JSON.

Every market's column is a column of one wide frame ("TH price_log"), so that one page holds them all, each with its own
threshold. Its table of drifted columns (`DataDriftPreset`) is on all markets together, the pictures are by market:
the preset draws every column twice and would take three times as long.
"""

import json
import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from components.contracts.tools.manifest import write_json
from components.contracts.tools.report import write_report
from components.monitoring.columns import Measured
from components.monitoring.config import MonitoringConfig
from components.monitoring.findings import EVERY_MARKET


def evidently_scores(measured: Sequence[Measured], config: MonitoringConfig, html: Path, details: Path) -> list[float]:
    """Run Evidently over the columns, write its HTML and JSON, and return its score of each, in order.

    Columns that are expected to move are left out of the report (and come back with the score they had).
    """
    os.environ.setdefault("DO_NOT_TRACK", "1")  # Evidently sends telemetry otherwise
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import ValueDrift
    from evidently.presets import DataDriftPreset

    shown = {_name(m): m for m in measured if not m.finding.expected}
    if not shown:
        write_report(html, "Nothing to compare", "Evidently had no column to look at: see drift.html for why.", [])
        write_json(details, {})
        return [float(m.finding.score or 0.0) for m in measured]
    definition = DataDefinition(
        numerical_columns=[name for name, m in shown.items() if m.kind == "numeric"],
        categorical_columns=[name for name, m in shown.items() if m.kind == "categorical"],
    )
    reference, current = (
        Dataset.from_pandas(
            pd.DataFrame({name: pd.Series(getattr(m, window)) for name, m in shown.items()}), definition
        )
        for window in ("reference", "current")
    )
    together = [name for name, m in shown.items() if m.finding.market == EVERY_MARKET] or list(shown)
    preset = DataDriftPreset(
        columns=together,
        method=config.method,
        per_column_threshold={name: shown[name].finding.threshold for name in together},
        drift_share=config.market_share,
    )
    by_market = [
        ValueDrift(column=name, method=config.method, threshold=m.finding.threshold)
        for name, m in shown.items()
        if name not in together
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # it correlates columns, constant ones too
        snapshot = Report([preset, *by_market], include_tests=True).run(current, reference)
    html.parent.mkdir(parents=True, exist_ok=True)
    snapshot.save_html(str(html))
    content = json.loads(snapshot.json())
    write_json(details, content)
    scores = {
        metric["config"]["column"]: float(metric["value"])
        for metric in content["metrics"]
        if metric["config"].get("column") in shown
    }
    return [scores.get(_name(m), float(m.finding.score or 0.0)) for m in measured]


def _name(measured: Measured) -> str:
    return f"{measured.finding.market} {measured.finding.column}"
