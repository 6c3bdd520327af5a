"""Comparing the columns of two frames, market by market: which moved, by how much, and what could not be tested.

Shapes: R rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal

import numpy as np
import pandas as pd

from components.monitoring.config import MonitoringConfig
from components.monitoring.distributions import Distribution, Move, Values, category_move, number_move
from components.monitoring.findings import EVERY_COLUMN, EVERY_MARKET, Finding, Scope, untested
from components.monitoring.market_rows import compare_rows
from components.monitoring.sign_flips import flips, group_rows, mean_statistics, signed_weights, value_contributions
from components.monitoring.table_sample import PRIORITY
from components.monitoring.wording import spell_share

_TESTS_PER_COLUMN = 2  # its values, and how many are missing
_OUTCOMES = ("label", "prediction")


@dataclass(frozen=True)
class ColumnSpec:
    """How one column is compared.

    Attributes:
        name: the column, in both frames.
        kind: numeric, or categorical (values become text).
        scope: what its findings are called.
        entity: the column whose values are the units of the tests (a user's rows move together); None: each row.
        segment: what its values are ("domain"), where one that is gone or new is critical.
        expected: reason why it moves by construction, if it does: it is then shown, not judged.
    """

    name: str
    kind: Literal["numeric", "categorical"]
    scope: Scope = "feature"
    entity: str | None = None
    segment: str = ""
    expected: str = ""


@dataclass(frozen=True)
class Measured:
    """A finding with the distribution behind it, for pictures and for Evidently's report."""

    finding: Finding
    distribution: Distribution


@dataclass(frozen=True)
class ColumnsCompared:
    """All findings of two frames, and those of distributions with what is behind them."""

    findings: list[Finding]
    measured: list[Measured]


class _Window:
    """Rows of one market in both windows, reference first, with groups of entities made once per entity column."""

    def __init__(self, market: str, reference: pd.DataFrame, current: pd.DataFrame, config: MonitoringConfig) -> None:
        self.market = market
        self.all_rows = (len(reference), len(current))
        parts = [_cap(reference, config), _cap(current, config)]
        self.rows = (len(parts[0]), len(parts[1]))
        self.frame = pd.concat(parts, ignore_index=True)
        self.is_current = np.arange(len(self.frame)) >= self.rows[0]
        self._config = config
        self._groups: dict[str | None, tuple[np.ndarray, int]] = {}

    def groups(self, entity: str | None) -> tuple[np.ndarray, int]:
        """Group of each row (R,), and how many entities there are."""
        if entity not in self._groups:
            values = None if entity is None else self.frame[entity]
            self._groups[entity] = group_rows(values, len(self.frame), self._config.seed)
        return self._groups[entity]


def compare_columns(
    reference: pd.DataFrame,
    current: pd.DataFrame,
    specs: Sequence[ColumnSpec],
    config: MonitoringConfig,
    days: tuple[float, float] | None = None,
    rows: tuple[Mapping[str, int], Mapping[str, int]] | None = None,
) -> ColumnsCompared:
    """Compare the columns of two frames in every market of either, and over all markets.

    Both frames have a column `market`, every spec's column and its entity's. Missing values (NaN, None, infinite) are
    left out of a distribution and compared as a share of their own. A spec named "market" is the mix of markets, and is
    compared over all of them only. `days` is how long each window is, for the number of rows; None where that number
    says nothing (folds of one data set). `rows` are how many rows each market has where the frames are samples; their
    column `_priority` then says which rows of all markets are one.
    """
    compared = ColumnsCompared([], [])
    windows = [_Window(market, *sides, config) for market, sides in _markets(reference, current).items()]
    # A column that moves alone must reach the rate divided by the number of tests: draws enough to tell.
    tests = _TESTS_PER_COLUMN * len(specs) * len(windows)
    draws = max(config.draws, ceil(tests / config.false_discovery_rate))
    for window in windows:
        counted = window.all_rows if rows is None else _counted(window.market, rows)
        facts = compare_rows(window.market, counted, days, config)
        compared.findings.extend(facts)
        if facts and min(counted) == 0:
            continue
        if min(window.rows) < config.min_rows:
            why = f"{window.rows[0]} reference and {window.rows[1]} current rows, {config.min_rows} needed"
            compared.findings.append(untested("market", window.market, EVERY_COLUMN, window.rows, why))
            continue
        for spec in specs:
            if spec.name != "market" or window.frame["market"].nunique() > 1:
                _compare_column(window, spec, flips(draws, config.seed), config, compared)
    return compared


def _markets(reference: pd.DataFrame, current: pd.DataFrame) -> dict[str, tuple[pd.DataFrame, pd.DataFrame]]:
    """Each market's rows of both windows, and all of them together where there are several."""
    markets = sorted(set(reference["market"]) | set(current["market"]))
    found = {
        market: (reference[reference["market"] == market], current[current["market"] == market]) for market in markets
    }
    return found | ({EVERY_MARKET: (reference, current)} if len(markets) > 1 else {})


def _counted(market: str, rows: tuple[Mapping[str, int], Mapping[str, int]]) -> tuple[int, int]:
    old, new = (sum(side.values()) if market == EVERY_MARKET else side.get(market, 0) for side in rows)
    return old, new


def _compare_column(
    window: _Window, spec: ColumnSpec, flips_PG: np.ndarray, config: MonitoringConfig, compared: ColumnsCompared
) -> None:
    values = _values(window.frame[spec.name], spec)
    present = np.asarray(pd.notna(values))
    rows = (int((present & ~window.is_current).sum()), int((present & window.is_current).sum()))
    groups, entities = window.groups(spec.entity)
    trusted = entities >= config.min_entities
    if trusted and present.any() and not present.all():
        compared.findings.append(_compare_missing(window, spec, present, rows, flips_PG))
    if not trusted or min(rows) < config.min_rows:
        why = f"{rows[0]} reference and {rows[1]} current values, {config.min_rows} needed"
        if not trusted:
            why = f"{entities} distinct {spec.entity}, {config.min_entities} needed to tell a move from noise"
        compared.findings.append(untested(spec.scope, window.market, spec.name, rows, why))
        return
    given = Values(values[present], window.is_current[present], groups[present], flips_PG)
    if spec.kind == "numeric":
        move = number_move(given, config.critical_outcome_factor if spec.scope in _OUTCOMES else None, config)
    else:
        move = category_move(given, spec.segment, config)
    finding = _finding(window, spec, rows, move)
    compared.findings.append(finding)
    compared.measured.append(Measured(finding, move.distribution))


def _finding(window: _Window, spec: ColumnSpec, rows: tuple[int, int], move: Move) -> Finding:
    return Finding(
        spec.scope, window.market, spec.name, move.what, *rows, p_values=move.p_values, p_value=move.p_value,
        size=move.size, broken=move.broken, noise=move.noise, unit=move.unit,
        why=spec.expected, expected=bool(spec.expected),
    )  # fmt: skip


def _compare_missing(
    window: _Window, spec: ColumnSpec, present: np.ndarray, rows: tuple[int, int], flips_PG: np.ndarray
) -> Finding:
    absent = (~present).astype(np.float64)
    before, after = (float(absent[part].mean()) for part in (~window.is_current, window.is_current))
    groups, _ = window.groups(spec.entity)
    contributions = value_contributions(absent[:, None], signed_weights(window.is_current), groups)
    share = mean_statistics(contributions, flips_PG)[0].p_value
    return Finding(
        "missing", window.market, spec.name, f"without a value {spell_share(before)} -> {spell_share(after)}", *rows,
        p_values={"share": share}, p_value=share, size=abs(after - before),
        broken=_empty(before, after), noise=float(np.sqrt((contributions**2).sum())), why=spec.expected,
        expected=bool(spec.expected),
    )  # fmt: skip


def _empty(before: float, after: float) -> str:
    if after == 1 > before:
        return "empty now"
    return "was empty before" if before == 1 > after else ""


def _values(column: pd.Series, spec: ColumnSpec) -> np.ndarray:
    """Floats with NaN where absent or infinite, or objects of str and None."""
    if spec.kind == "categorical":
        return np.asarray(column.astype(object).where(column.notna(), None).map(str, na_action="ignore"), dtype=object)
    floats = np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan))
    return np.where(np.isfinite(floats), floats, np.nan)


def _cap(rows: pd.DataFrame, config: MonitoringConfig) -> pd.DataFrame:
    if len(rows) <= config.max_rows:
        return rows
    if PRIORITY in rows:
        return rows.nsmallest(config.max_rows, PRIORITY)
    return rows.sample(config.max_rows, random_state=config.seed)
