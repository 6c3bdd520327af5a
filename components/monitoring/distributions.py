"""Whether and how one column's values moved between two windows: tests, size, words, and bins for a picture.

Bins of a number are the deciles of the reference and its outer hundredths, so that one outlier or a long tail can't
empty them, and a doubled price moves rows. Categories are the most frequent ones; the others are tested as a tail.

Shapes: R rows, B bins, G groups.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from components.monitoring.config import MonitoringConfig
from components.monitoring.sign_flips import (
    Statistic,
    bin_contributions,
    distance_statistic,
    joint_p_value,
    mean_statistics,
    mix_statistics,
    signed_weights,
    value_contributions,
)
from components.monitoring.wording import (
    change_of_number,
    change_of_share,
    spell_briefly,
    spell_number,
    spell_share,
)

_QUANTILES = (0.01, *np.arange(0.1, 0.91, 0.1), 0.99)
_MAX_EXACT_VALUES = 20
# A shift of one standard deviation changes the mean rank of normal values by 1 / (2 sqrt(pi)).
_SD_PER_RANK = 2 * np.sqrt(np.pi)
_OTHER = "(other)"
# Share of rows that a change of unit moves at least.
_UNIT_MOVES = 0.2


@dataclass(frozen=True)
class Distribution:
    """One column of both windows, reference first.

    Attributes:
        labels: of its bins, in order.
        codes: bin of each row (R,).
        is_current: whether each row is of the current window (R,).
    """

    labels: Sequence[str]
    codes: np.ndarray
    is_current: np.ndarray

    def shares(self) -> tuple[np.ndarray, np.ndarray]:
        """Share of each bin in the reference and in the current window, (B,) each."""
        before, after = (
            np.bincount(self.codes[part], minlength=len(self.labels)) for part in (~self.is_current, self.is_current)
        )
        return before / max(before.sum(), 1), after / max(after.sum(), 1)


@dataclass(frozen=True)
class Values:
    """One column's values in both windows, missing ones left out.

    Attributes:
        values: finite numbers, or text (R,).
        tested: the same, as far as the reference tells them apart (R,).
        is_current: whether each is of the current window (R,).
        groups: of each (R,), see `sign_flips`.
        flips: sign flips (P, G).
    """

    values: np.ndarray
    tested: np.ndarray
    is_current: np.ndarray
    groups: np.ndarray
    flips: np.ndarray


@dataclass(frozen=True)
class Move:
    """What tests said of a column; attributes as those of a `Finding`."""

    p_values: dict[str, float]
    p_value: float
    size: float
    noise: float
    unit: Literal["sd", "share"]
    what: str
    broken: str
    distribution: Distribution


def number_move(given: Values, outcome_factor: float | None, config: MonitoringConfig) -> Move:
    """Test a number: its bins, its level (mean rank) and its spread (distance of ranks from the middle).

    Args:
        given: the column.
        outcome_factor: factor between means that is critical, for a label, a prediction or a score; else None.
        config: the stage's.
    """
    is_current = given.is_current
    distribution = number_bins(given.tested, is_current)
    weights = signed_weights(is_current)
    binned = bin_contributions(distribution.codes, len(distribution.labels), weights, given.groups)
    ranks = (rankdata(given.tested) - 0.5) / len(given.tested) - 0.5
    ranked = value_contributions(np.stack([ranks, ranks**2], axis=1), weights, given.groups)
    shape, _ = mix_statistics(binned, _pooled(distribution), given.flips)
    level, spread = mean_statistics(ranked, given.flips)
    old, new = given.values[~is_current], given.values[is_current]
    size = _size(distribution)
    return _move(
        {"shape": shape, "level": level, "spread": spread},
        size=size,
        noise=float(_SD_PER_RANK * np.sqrt((ranked[:, 0] ** 2).sum())),
        unit="sd",
        what=_describe_number(old, new, distribution, outcome_factor is not None),
        broken=_constant(old, new, config) or _factor(old, new, size, outcome_factor, config),
        distribution=distribution,
    )


def category_move(given: Values, segment: str, config: MonitoringConfig) -> Move:
    """Test categories: their mix, the one that moved most, and where there are many, the tail of rare ones.

    Args:
        given: the column.
        segment: what the categories are ("domain") where one that is gone or new is critical; else "".
        config: the stage's.
    """
    is_current = given.is_current
    codes, names = _by_frequency(given.tested)
    head = np.minimum(codes, config.max_categories)
    labels = [*map(str, names[: config.max_categories]), *([_OTHER] if len(names) > config.max_categories else [])]
    distribution = Distribution(labels, head, is_current)
    contributions = bin_contributions(head, len(labels), signed_weights(is_current), given.groups)
    mix, category = mix_statistics(contributions, _pooled(distribution), given.flips)
    statistics, size = {"mix": mix, "category": category}, _size(distribution)
    by_tail = False
    if len(names) > config.max_categories:
        in_tail = codes >= config.max_categories
        # Its own weights: the tail is compared within, its share is a category of the mix.
        tail = bin_contributions(
            codes[in_tail] - config.max_categories, len(names) - config.max_categories,
            signed_weights(is_current[in_tail]), given.groups[in_tail],
        )  # fmt: skip
        statistics["tail"] = distance_statistic(tail, given.flips)
        by_tail = statistics["tail"].p_value <= min(mix.p_value, category.p_value)
        if by_tail:
            size = max(size, _one_sided(codes, is_current))
    return _move(
        statistics,
        size=size,
        noise=float(np.sqrt((contributions**2).sum(0)).max()),
        unit="share",
        what=_describe_categories(codes, names, is_current, by_tail),
        broken=_constant(codes[~is_current], codes[is_current], config)
        or (_gone_or_new(distribution, segment) if segment else ""),
        distribution=distribution,
    )


def _move(statistics: dict[str, Statistic], **facts: Any) -> Move:
    each = {name: statistic.p_value for name, statistic in statistics.items()}
    return Move(p_values=each, p_value=joint_p_value(list(statistics.values())), **facts)


def number_bins(values: np.ndarray, is_current: np.ndarray) -> Distribution:
    """Bins by the reference's quantiles; where there are few values, each is a bin."""
    distinct = np.unique(values)
    if len(distinct) <= _MAX_EXACT_VALUES:
        return Distribution([spell_number(v) for v in distinct], np.searchsorted(distinct, values), is_current)
    edges = np.unique(np.quantile(values[~is_current], _QUANTILES))
    ends = [spell_number(edge) for edge in edges]
    between = [f"{low} to {high}" for low, high in pairwise(ends)]
    labels = [f"up to {ends[0]}", *between, f"above {ends[-1]}"]
    return Distribution(labels, np.searchsorted(edges, values, side="left"), is_current)


def _pooled(distribution: Distribution) -> np.ndarray:
    return np.bincount(distribution.codes, minlength=len(distribution.labels)) / len(distribution.codes)


def _size(distribution: Distribution) -> float:
    """Half the sum of absolute changes: the share of rows that is elsewhere now (total variation distance)."""
    before, after = distribution.shares()
    return float(np.abs(after - before).sum() / 2)


def _by_frequency(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes by falling frequency in both windows together, and the category of each; ties in alphabetical order."""
    codes, names = pd.factorize(values, sort=True)
    order = np.argsort(-np.bincount(codes), kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return place[codes], np.asarray(names)[order]


def _one_sided(codes: np.ndarray, is_current: np.ndarray) -> float:
    """Share of rows whose value the other window does not have."""
    old, new = (np.bincount(codes[part], minlength=int(codes.max()) + 1) for part in (~is_current, is_current))
    return float(((old / old.sum())[new == 0].sum() + (new / new.sum())[old == 0].sum()) / 2)


def _constant(old: np.ndarray, new: np.ndarray, config: MonitoringConfig) -> str:
    """A column that took other values before, in more rows than a warning needs, and takes one now."""
    varied = float((old != new[0]).mean()) >= config.min_moved_share
    return "one value alone now" if varied and new.min() == new.max() else ""


def _factor(
    old: np.ndarray, new: np.ndarray, size: float, outcome_factor: float | None, config: MonitoringConfig
) -> str:
    """A change of unit, or of an outcome's mean.

    A unit moves many rows. Few are enough to move the median of prices in two currencies from one to the other.
    """
    if outcome_factor is None and size < _UNIT_MOVES:
        return ""
    before, after, factor, name = float(np.median(old)), float(np.median(new)), config.unit_factor, "the unit changed"
    if outcome_factor is not None:
        before, after, factor, name = float(old.mean()), float(new.mean()), outcome_factor, "the mean changed"
    if before * after <= 0 or max(after / before, before / after) < factor:
        return ""
    return f"{name}: x{spell_briefly(after / before)}"


def _gone_or_new(distribution: Distribution, segment: str) -> str:
    before, after = distribution.shares()
    said = [
        f"{segment} {name} is {'gone' if b else 'new'}"
        for name, b, a in zip(distribution.labels, before, after, strict=True)
        if (b > 0) != (a > 0)
    ]
    return ", ".join(sorted(said))


def _describe_number(old: np.ndarray, new: np.ndarray, distribution: Distribution, by_mean: bool) -> str:
    name, middle = ("mean", np.mean) if by_mean or len(distribution.labels) <= 2 else ("median", np.median)
    before, after = float(middle(old)), float(middle(new))
    if spell_number(before) == spell_number(after):
        spreads = [float(np.subtract(*np.quantile(part, [0.9, 0.1]))) for part in (old, new)]
        if spell_number(spreads[0]) == spell_number(spreads[1]):
            shares = distribution.shares()
            place = int(np.abs(shares[1] - shares[0]).argmax())
            return f"{distribution.labels[place]}: {change_of_share(shares[0][place], shares[1][place])}"
        return f"{name} {spell_briefly(before)} as before, 80 % range {change_of_number(*spreads)}"
    return f"{name} {change_of_number(before, after)}"


def _describe_categories(codes: np.ndarray, names: np.ndarray, is_current: np.ndarray, by_tail: bool) -> str:
    before, after = (np.bincount(codes[part], minlength=len(names)) / part.sum() for part in (~is_current, is_current))
    if by_tail:
        unseen = float(after[before == 0].sum())
        return f"rare values changed: {spell_share(unseen)} of rows have a value that was not there before"
    place = int(np.abs(after - before).argmax())
    return f"{names[place]}: {change_of_share(before[place], after[place])}"
