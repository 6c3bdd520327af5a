"""Figures as people read them: three significant digits, percentages, points, and an interval beside its value."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from numbers import Integral, Real
from typing import Literal, Self

import pandas as pd

Unit = Literal["number", "percent", "points", "price"]
NOTHING = "–"
_DIGITS = 3


@dataclass(frozen=True)
class Estimate:
    """A figure and the bounds of its 95 % interval; what could not be computed is None."""

    value: float | None
    low: float | None
    high: float | None

    @classmethod
    def of(cls, value: float | None, bounds: Sequence[float | None] | None) -> Self:
        """From a figure and its [low, high] as metrics hold them."""
        return cls(value, *(bounds or (None, None)))

    @property
    def holds_zero(self) -> bool:
        """Whether the interval leaves the sign of the figure open; so does a missing interval."""
        return self.low is None or self.high is None or self.low <= 0 <= self.high


def spell(value: object, unit: Unit = "number") -> str:
    """One cell as text.

    Whole numbers keep every digit. Other numbers have three significant ones, two where they are small; a "percent" is
    a share times 100, "points" are a difference of shares or AUCs times 100, and a "price" has cents below 1,000.
    """
    if isinstance(value, Estimate):
        bounds = interval(value, unit)
        return f"{spell(value.value, unit)} ({bounds})" if bounds else spell(value.value, unit)
    if value is None or value is pd.NaT or (isinstance(value, Real) and not math.isfinite(value)):
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, Real):
        return _number(value, unit)
    return str(value)


def interval(estimate: Estimate, unit: Unit = "number") -> str:
    """ "low to high", empty where there is none."""
    if estimate.low is None or estimate.high is None:
        return ""
    return f"{spell(estimate.low, unit)} to {spell(estimate.high, unit)}"


def is_number(value: object) -> bool:
    """Whether a cell stands on the right."""
    return isinstance(value, Estimate) or (isinstance(value, Real) and not isinstance(value, bool))


def _number(value: Real, unit: Unit) -> str:
    if unit == "percent":
        return f"{_significant(100 * float(value))} %"
    if unit == "points":
        return f"{100 * float(value):+.2f}"
    if unit == "price":
        return f"{float(value):,.0f}" if abs(float(value)) >= 1000 else f"{float(value):,.2f}"
    return f"{int(value):,}" if isinstance(value, Integral) else _significant(float(value))


def _significant(value: float) -> str:
    rounded = float(f"{value:.{_DIGITS - 1}e}")
    if rounded == 0:
        return "0"
    if abs(rounded) < 1e-3:
        return f"{value:.1e}"
    decimals = _DIGITS - 1 - math.floor(math.log10(abs(rounded)))
    return f"{rounded:,.{min(max(decimals, 0), _DIGITS + 1)}f}"
