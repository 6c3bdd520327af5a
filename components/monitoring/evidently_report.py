"""Evidently's part of the verdict: how far each column that moved has moved (PSI), its page and its JSON.

Evidently is given the bins (`distributions.py`) as categories, with their names: its own are of equal width over both
windows, which one outlier empties. Its other tests don't fit: they take rows for independent, decide column by column
whatever their number is, and know no market. So whether a column moved is our test (`sign_flips.py`), and how far is
Evidently's figure; only columns that moved are shown, one a market ("TH price").
"""

import json
import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from components.contracts.tools.manifest import write_json
from components.contracts.tools.report import write_report
from components.monitoring.columns import Measured
from components.monitoring.config import MonitoringConfig


def evidently_psi(measured: Sequence[Measured], config: MonitoringConfig, html: Path, details: Path) -> list[float]:
    """Run Evidently over columns that moved, write its HTML and JSON, and return its PSI of each, in order.

    Raises:
        RuntimeError: Evidently gave no figure for a column: a verdict without it would be a guess.
    """
    if not measured:
        write_report(
            html, "No column moved", "So Evidently has nothing to show: see drift.html for what was tested.", []
        )
        write_json(details, {})
        return []
    os.environ.setdefault("DO_NOT_TRACK", "1")  # Evidently sends telemetry otherwise
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import ValueDrift

    names = [_name(m) for m in measured]
    definition = DataDefinition(categorical_columns=names)
    reference, current = (
        Dataset.from_pandas(
            pd.DataFrame({name: _bins(m, window) for name, m in zip(names, measured, strict=True)}), definition
        )
        for window in (False, True)
    )
    metrics = [
        ValueDrift(column=name, method="psi", threshold=_limit(m, config))
        for name, m in zip(names, measured, strict=True)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        snapshot = Report(metrics, include_tests=True).run(current, reference)
    html.parent.mkdir(parents=True, exist_ok=True)
    snapshot.save_html(str(html))
    content = json.loads(snapshot.json())
    write_json(details, content)
    scores = {metric["config"].get("column"): metric["value"] for metric in content["metrics"]}
    absent = [name for name in names if scores.get(name) is None]
    if absent:
        raise RuntimeError(f"Evidently gave no PSI for {len(absent)} of {len(names)} columns, the first: {absent[0]}")
    return [float(scores[name]) for name in names]


def _bins(measured: Measured, window: bool) -> pd.Series:
    """The bin of each row of a window as text, numbered so that sorting keeps their order."""
    distribution = measured.distribution
    width = len(str(len(distribution.labels)))
    labels = [f"{number:0{width}d}: {label}" for number, label in enumerate(distribution.labels, 1)]
    codes = distribution.codes[distribution.is_current == window]
    return pd.Series(np.asarray(labels, dtype=object)[codes])


def _limit(measured: Measured, config: MonitoringConfig) -> float:
    return config.critical_psi if measured.finding.scope == "feature" else config.critical_outcome_psi


def _name(measured: Measured) -> str:
    return f"{measured.finding.market} {measured.finding.column}"
