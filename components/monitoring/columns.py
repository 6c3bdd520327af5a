"""Comparing the columns of two frames, market by market: which moved, by how much, and what could not be tested.

Shapes: R rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from components.monitoring.config import MonitoringConfig
from components.monitoring.distributions import Distribution, Move, Values, category_move, number_move
from components.monitoring.findings import EVERY_COLUMN, EVERY_MARKET, Finding, untested, weights_of_tests
from components.monitoring.market_rows import compare_rows
from components.monitoring.profiles import TableProfile
from components.monitoring.sign_flips import flips, mean_statistics, signed_weights, value_contributions
from components.monitoring.windows import ColumnSpec, Window, count_rows, make_windows
from components.monitoring.wording import spell_share

_TESTS_PER_COLUMN = 2  # its values, and how many are missing
_OUTCOMES = ("label", "prediction", "errors")


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


def compare_columns(
    reference: pd.DataFrame | TableProfile,
    current: pd.DataFrame,
    specs: Sequence[ColumnSpec],
    config: MonitoringConfig,
    days: tuple[float, float] | None = None,
    rows: tuple[Mapping[str, int], Mapping[str, int]] | None = None,
) -> ColumnsCompared:
    """Compare the columns of two frames in every market of either, and over all markets.

    Both frames have a column `market`, every spec's column and its entity's; of the first a profile is enough. Missing
    values (NaN, None, infinite) are left out of a distribution and compared as a share of their own. A spec named
    "market" is the mix of markets, and is compared over all of them only. `days` is how long each window is, for the
    number of rows; None where that number says nothing (folds of one data set). `rows` are how many rows each market
    has where the frames are samples; their column `_priority` then says which rows of all markets are one.
    """
    compared = ColumnsCompared([], [])
    windows = make_windows(reference, current, config)
    # A column that moves alone must reach its part of the rate: draws enough to tell.
    tests = _TESTS_PER_COLUMN * len(specs) * len(windows)
    weigh = weights_of_tests(tests // max(len(windows), 1), tests, config)
    least = min((weigh(window.market) for window in windows), default=1.0)
    draws = max(config.draws, ceil(tests / config.false_discovery_rate / least))
    for window in windows:
        counted = window.all_rows if rows is None else count_rows(window.market, rows)
        facts = compare_rows(window.market, counted, days, config)
        compared.findings.extend(facts)
        if facts and min(counted) == 0:
            continue
        if min(window.rows) < config.min_rows:
            why = f"{window.rows[0]} reference and {window.rows[1]} current rows, {config.min_rows} needed"
            compared.findings.append(untested("market", window.market, EVERY_COLUMN, window.rows, why))
            continue
        with threadpool_limits(1):  # products with few columns: threads would wait for each other, not share them
            for spec in specs:
                if spec.name != "market" or (window.market == EVERY_MARKET and len(windows) > 1):
                    _compare_column(window, spec, flips(draws, config.seed), config, compared)
    return compared


def _compare_column(
    window: Window, spec: ColumnSpec, flips_PG: np.ndarray, config: MonitoringConfig, compared: ColumnsCompared
) -> None:
    column = window.column(spec)
    values = column.values
    present = np.asarray(pd.notna(values))
    rows = (int((present & ~window.is_current).sum()), int((present & window.is_current).sum()))
    trusted = column.entities >= config.min_entities
    if trusted and present.any() and not present.all():
        compared.findings.append(_compare_missing(window, spec, present, rows, column.groups, flips_PG))
    if not trusted or min(rows) < config.min_rows:
        why = f"{rows[0]} reference and {rows[1]} current values, {config.min_rows} needed"
        if not trusted:
            why = f"{column.entities} distinct {spec.entity}, {config.min_entities} needed to tell a move from noise"
        compared.findings.append(untested(spec.scope, window.market, spec.name, rows, why))
        return
    tested = column.tested[present]
    given = Values(values[present], tested, window.is_current[present], column.groups[present], flips_PG)
    if spec.kind == "numeric":
        move = number_move(given, config.critical_outcome_factor if spec.scope in _OUTCOMES else None, config)
    else:
        move = category_move(given, spec.segment, config)
    finding = _finding(window, spec, rows, move)
    if spec.scope == "errors":
        fewer = given.values[given.is_current].mean() < given.values[~given.is_current].mean()
        finding = replace(finding, better=bool(fewer))
    compared.findings.append(finding)
    compared.measured.append(Measured(finding, move.distribution))


def _finding(window: Window, spec: ColumnSpec, rows: tuple[int, int], move: Move) -> Finding:
    return Finding(
        spec.scope, window.market, spec.name, move.what, *rows, p_values=move.p_values, p_value=move.p_value,
        size=move.size, broken=move.broken, noise=move.noise, unit=move.unit,
        why=spec.expected, expected=bool(spec.expected),
    )  # fmt: skip


def _compare_missing(
    window: Window, spec: ColumnSpec, present: np.ndarray, rows: tuple[int, int], groups: np.ndarray,
    flips_PG: np.ndarray,
) -> Finding:  # fmt: skip
    absent = (~present).astype(np.float64)
    before, after = (float(absent[part].mean()) for part in (~window.is_current, window.is_current))
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
