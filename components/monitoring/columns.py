"""Comparing the columns of two frames, market by market: scores, noise floors and what could not be tested.

Shapes: K entities, B bins, P draws.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from components.monitoring.config import MonitoringConfig
from components.monitoring.findings import EVERY_COLUMN, EVERY_MARKET, Finding, Scope, untested
from components.monitoring.noise import bins, entity_counts, noise_floor, psi, swapped, swaps

_OTHER = "(other)"


@dataclass(frozen=True)
class ColumnSpec:
    """How one column is compared.

    Attributes:
        name: the column, in both frames.
        kind: numeric, or categorical (values become text).
        scope: what its findings are called.
        entity: the column whose values are the units of the noise floor (a user's rows move together); None: each row.
        log_scale: whether ln(1 + x) is compared: counts have long tails, which alone would fill bins of equal width.
        expected: reason why it moves by construction, if it does: it is then shown, not judged.
    """

    name: str
    kind: Literal["numeric", "categorical"]
    scope: Scope = "feature"
    entity: str | None = None
    log_scale: bool = False
    expected: str = ""


@dataclass(frozen=True)
class Measured:
    """A finding with the values behind it, for Evidently's report; numbers, or text where categorical."""

    finding: Finding
    kind: Literal["numeric", "categorical"]
    reference: np.ndarray
    current: np.ndarray


@dataclass(frozen=True)
class ColumnsCompared:
    """All findings of two frames, and those of distributions with their values."""

    findings: list[Finding]
    measured: list[Measured]


class _Window:
    """Rows of one market in both windows, reference first, with entity codes made once per column."""

    def __init__(self, market: str, reference: pd.DataFrame, current: pd.DataFrame, config: MonitoringConfig) -> None:
        self.market = market
        parts = [_cap(reference, config), _cap(current, config)]
        self.rows = (len(parts[0]), len(parts[1]))
        self.frame = pd.concat(parts, ignore_index=True)
        self.is_current = np.arange(len(self.frame)) >= self.rows[0]
        self._config = config
        self._entities: dict[str | None, tuple[np.ndarray, np.ndarray]] = {}

    def entities(self, column: str | None) -> tuple[np.ndarray, np.ndarray]:
        """Entity code of each row, and the random swaps (P, K) of those entities."""
        if column not in self._entities:
            codes = np.arange(len(self.frame)) if column is None else pd.factorize(self.frame[column])[0]
            draws = swaps(int(codes.max()) + 1, self._config.noise_draws, self._config.seed)
            self._entities[column] = (codes, draws)
        return self._entities[column]


def compare_columns(
    reference: pd.DataFrame, current: pd.DataFrame, specs: Sequence[ColumnSpec], config: MonitoringConfig
) -> ColumnsCompared:
    """Compare the columns of two frames in every market of either, and over all markets.

    Both frames have a column `market`, every spec's column and its entity's. Missing values (NaN, None, infinite) are
    left out of a distribution and compared as a share of their own. A spec named "market" is the mix of markets, and is
    compared over all of them only.
    """
    compared = ColumnsCompared([], [])
    for window in _windows(reference, current, config):
        if min(window.rows) < config.min_rows:
            why = f"{window.rows[0]} reference and {window.rows[1]} current rows, {config.min_rows} needed"
            compared.findings.append(untested("market", window.market, EVERY_COLUMN, window.rows, why))
            continue
        for spec in specs:
            if spec.name != "market" or window.frame["market"].nunique() > 1:
                _compare_column(window, spec, config, compared)
    return compared


def _windows(reference: pd.DataFrame, current: pd.DataFrame, config: MonitoringConfig) -> Iterator[_Window]:
    markets = sorted(set(reference["market"]) | set(current["market"]))
    for market in markets:
        yield _Window(market, reference[reference["market"] == market], current[current["market"] == market], config)
    if len(markets) > 1:
        yield _Window(EVERY_MARKET, reference, current, config)


def _compare_column(window: _Window, spec: ColumnSpec, config: MonitoringConfig, compared: ColumnsCompared) -> None:
    values = _values(window.frame[spec.name], spec)
    present = pd.notna(values)
    rows = (int((present & ~window.is_current).sum()), int((present & window.is_current).sum()))
    entities, draws = window.entities(spec.entity)
    trusted = draws.shape[1] >= config.min_entities
    if trusted and present.any() and not present.all():
        compared.findings.append(_compare_missing(window, spec, present, rows, config))
    if not trusted or min(rows) < config.min_rows:
        why = f"{rows[0]} reference and {rows[1]} current values, {config.min_rows} needed"
        if not trusted:
            why = f"{draws.shape[1]} distinct {spec.entity}, {config.min_entities} needed to tell drift from noise"
        compared.findings.append(untested(spec.scope, window.market, spec.name, rows, why))
        return
    # Reference rows come first in a window, so the values that are there keep that order.
    kept = np.flatnonzero(present)
    old, new = values[kept[: rows[0]]], values[kept[rows[0] :]]
    if spec.kind == "categorical":
        old, new = limit_categories(old, new, config.max_categories)
    codes = bins(old, new) if spec.kind == "numeric" else pd.factorize(np.concatenate([old, new]))[0]
    num_bins = int(codes.max()) + 1
    reference_KB, current_KB = (
        entity_counts(codes[part], entities[kept[part]], draws.shape[1], num_bins)
        for part in (slice(rows[0]), slice(rows[0], None))
    )
    floor = noise_floor(reference_KB, current_KB, draws, config.noise_quantile)
    score = float(psi(reference_KB.sum(0), current_KB.sum(0))[0])
    finding = _finding(spec.scope, window, spec, config.method, score, _above(config.threshold, floor), rows)
    compared.findings.append(finding)
    compared.measured.append(Measured(finding, spec.kind, old, new))


def _compare_missing(
    window: _Window, spec: ColumnSpec, present: np.ndarray, rows: tuple[int, int], config: MonitoringConfig
) -> Finding:
    entities, draws = window.entities(spec.entity)
    absent = (~present).astype(np.int64)
    reference_KB, current_KB = (
        entity_counts(absent[part], entities[part], draws.shape[1], 2)
        for part in (~window.is_current, window.is_current)
    )
    null_reference_PB, null_current_PB = swapped(reference_KB, current_KB, draws)
    with np.errstate(invalid="ignore"):  # 0 / 0 where a draw empties a window
        null = np.abs(
            null_current_PB[:, 1] / null_current_PB.sum(1) - null_reference_PB[:, 1] / null_reference_PB.sum(1)
        )
    score = abs(float(absent[window.is_current].mean()) - float(absent[~window.is_current].mean()))
    threshold = _above(config.missing_threshold, float(np.nanquantile(null, config.noise_quantile)))
    return _finding("missing", window, spec, "share of missing values", score, threshold, rows)


def _above(threshold: float, floor: float) -> float:
    """The higher of both; with few entities the floor may be the score itself, which then does not reach it."""
    return max(threshold, floor * (1 + 1e-6))


def _finding(
    scope: Scope, window: _Window, spec: ColumnSpec, method: str, score: float, threshold: float, rows: tuple[int, int]
) -> Finding:
    drifted = score >= threshold and not spec.expected
    expected = bool(spec.expected)
    return Finding(scope, window.market, spec.name, method, score, threshold, drifted, *rows, spec.expected, expected)


def _values(column: pd.Series, spec: ColumnSpec) -> np.ndarray:
    """Floats with NaN where absent or infinite, or objects of str and None."""
    if spec.kind == "categorical":
        return np.asarray(column.astype(object).where(column.notna(), None).map(str, na_action="ignore"), dtype=object)
    floats = column.to_numpy(dtype=np.float64, na_value=np.nan)
    floats = np.where(np.isfinite(floats), floats, np.nan)
    return np.log1p(floats) if spec.log_scale else floats


def limit_categories(reference: np.ndarray, current: np.ndarray, max_categories: int) -> tuple[np.ndarray, np.ndarray]:
    """The same values with all but the most frequent (of both samples together) replaced by "(other)"."""
    both = pd.Series(np.concatenate([reference, current]), dtype=object)
    frequent = both.value_counts().sort_index(kind="stable").sort_values(ascending=False, kind="stable")
    limited = both.where(both.isin(frequent.index[:max_categories]), _OTHER).to_numpy(dtype=object)
    return limited[: len(reference)], limited[len(reference) :]


def _cap(rows: pd.DataFrame, config: MonitoringConfig) -> pd.DataFrame:
    return rows if len(rows) <= config.max_rows else rows.sample(config.max_rows, random_state=config.seed)
