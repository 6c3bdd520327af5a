"""Evidently's part of the verdict: how far each column has moved (PSI), a page a market, a snapshot a market.

Evidently is given the bins (`distributions.py`) as categories, with their names: its own are of equal width over both
windows, which one outlier empties. Its other tests don't fit: they take rows for independent, decide column by column
whatever their number is, and know no market. So whether a column moved is our test (`sign_flips.py`), and how far is
Evidently's figure. Its pages show the columns that moved alone; its snapshots hold every column, counts and no rows,
for trends over runs (`workspace.py`).
"""

import html
import os
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from components.monitoring.columns import Measured
from components.monitoring.config import MonitoringConfig
from components.monitoring.findings import EVERY_MARKET, Finding, critical_psi, seriousness

if TYPE_CHECKING:
    from evidently.core.report import Snapshot

PAGES = "reports/evidently-{}.html"
SNAPSHOTS = "evidently"
# A page is 3.7 MB before its first column, each of which adds 11 kB: so many keep it below 4 MB.
_COLUMNS_SHOWN = 24
_MARKETS_SHOWN = 12
# On a narrow screen Evidently's frames within frames leave its pictures half of the width.
_NARROW = "<style>@media (max-width: 600px) { .MuiCardContent-root { padding: 4px !important } }</style>"


def evidently_psi(measured: Sequence[Measured], config: MonitoringConfig) -> list[float]:
    """Evidently's population stability index of each column, in order; they are of any market.

    Raises:
        RuntimeError: Evidently gave no figure for a column: a verdict without it would be a guess.
    """
    if not measured:
        return []
    names = [f"{number} {m.finding.column}" for number, m in enumerate(measured)]
    content = _snapshot(names, measured, config, "").dict()
    scores = {metric["config"].get("column"): metric["value"] for metric in content["metrics"]}
    absent = [name for name in names if scores.get(name) is None]
    if absent:
        raise RuntimeError(f"Evidently gave no PSI for {len(absent)} of {len(names)} columns, the first: {absent[0]}")
    return [float(scores[name]) for name in names]


def write_evidently(
    measured: Iterable[Measured], moved: Sequence[Finding], config: MonitoringConfig, root: Path
) -> dict[str, Path]:
    """Write Evidently's snapshot of each market, and its page of each where columns moved: market -> page.

    Args:
        measured: every column with its distribution.
        moved: findings of the columns that moved.
        config: the stage's.
        root: the comparison's folder, for `PAGES` and `SNAPSHOTS`.
    """
    markets: dict[str, list[Measured]] = {}
    for one in measured:
        markets.setdefault(one.finding.market, []).append(one)
    ranked = {f.key: f for f in sorted(moved, key=seriousness, reverse=True)}
    shown = list(dict.fromkeys(f.market for f in ranked.values()))[:_MARKETS_SHOWN]
    (root / SNAPSHOTS).mkdir()
    pages = {}
    for market, columns in markets.items():
        title = f"Columns that moved, {html.escape('all markets together' if market == EVERY_MARKET else market)}"
        snapshot = _snapshot([m.finding.column for m in columns], columns, config, market)
        snapshot_path(root, market).write_text(snapshot.dumps(), encoding="utf-8")
        if market in shown:
            by_key = {m.finding.key: m for m in columns}
            largest = [by_key[key] for key in ranked if key in by_key][:_COLUMNS_SHOWN]
            pages[market] = root / PAGES.format(_file_name(market))
            # All of these moved by our test: Evidently's sentence on each shall not say otherwise.
            shows = _snapshot([m.finding.column for m in largest], largest, config, title, threshold=0)
            page = shows.get_html_str(as_iframe=False)
            pages[market].parent.mkdir(exist_ok=True)
            page = page.replace("<head>", f"<head><title>{title}</title>{_NARROW}", 1)
            pages[market].write_text(page, encoding="utf-8")
    return pages


def snapshot_path(root: Path, market: str) -> Path:
    """Where a comparison's folder has Evidently's snapshot of a market."""
    return root / SNAPSHOTS / f"{_file_name(market)}.json"


def worst_page(drift: Mapping[str, Any], root: Path) -> Path | None:
    """Evidently's page in a comparison's folder of the market where most moved, by drift.json; None if nothing did."""
    by_weight = sorted(
        drift["markets"].items(), key=lambda entry: (-entry[1]["critical"], -entry[1]["warnings"], entry[0])
    )
    pages = (root / PAGES.format(_file_name(market)) for market, _ in by_weight)
    return next((page for page in pages if page.is_file()), None)


def _snapshot(
    names: Sequence[str],
    measured: Sequence[Measured],
    config: MonitoringConfig,
    title: str,
    threshold: float | None = None,
) -> "Snapshot":
    """Evidently's report of columns; beyond `threshold` it says that one drifted, by default where that is critical."""
    os.environ.setdefault("DO_NOT_TRACK", "1")  # Evidently sends telemetry otherwise
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import ValueDrift

    definition = DataDefinition(categorical_columns=list(names))
    reference, current = (
        Dataset.from_pandas(
            pd.DataFrame({name: _bins(m, window) for name, m in zip(names, measured, strict=True)}), definition
        )
        for window in (False, True)
    )
    metrics = [
        ValueDrift(
            column=name, method="psi", threshold=critical_psi(m.finding, config) if threshold is None else threshold
        )
        for name, m in zip(names, measured, strict=True)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return Report(metrics, include_tests=True).run(current, reference, name=title)


def _bins(measured: Measured, window: bool) -> pd.Series:
    """The bin of each row of a window as text, numbered so that sorting keeps their order."""
    distribution = measured.distribution
    width = len(str(len(distribution.labels)))
    labels = [f"{number:0{width}d}: {label}" for number, label in enumerate(distribution.labels, 1)]
    codes = distribution.codes[distribution.is_current == window]
    return pd.Series(pd.Categorical.from_codes(codes, pd.Index(labels)))


def _file_name(market: str) -> str:
    return re.sub(r"[^\w-]", "-", market)
