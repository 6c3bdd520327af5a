"""Permutation p-values for the difference of two windows whose rows come from entities, by sign flips.

Rows of a log are not independent: a user's rows share tastes, an item's exposures share every count of that item. So
the unit that is permuted is the entity. Every figure that is compared is a difference of means, current less reference
(of a bin's indicator, of ranks, of missing values), and is the sum over entities of what each contributes to it. If
nothing moved, a contribution is as likely to have the other sign, whether its entity is in both windows or in one, and
whatever the windows' sizes are. Flipping signs at random many times gives the distribution of the difference without
any move (the sign-flip score test: Hemerik, Goeman and Finos, 2020). Swapping whole entities between the windows, the
usual permutation, is the same where both windows are equally large, and too sure of itself where they are not.

Entities are first gathered into at most `GROUPS` random groups: a sum of contributions may be flipped as well as each,
and the draws cost the same for any number of rows.

Shapes: R rows, G groups, L differences, P draws.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import rankdata

GROUPS = 256


@lru_cache(maxsize=2)
def flips(draws: int, seed: int) -> np.ndarray:
    """(P, GROUPS) of 1 and -1; a window of fewer groups uses the first columns."""
    return np.random.default_rng(seed).choice(np.array([-1, 1], dtype=np.float32), size=(draws, GROUPS))


def group_rows(entities: pd.Series | None, rows: int, seed: int) -> tuple[np.ndarray, int]:
    """The group of each row, and the number of distinct entities; without entities each row is one."""
    codes = np.arange(rows) if entities is None else pd.factorize(entities, use_na_sentinel=False)[0]
    number = int(codes.max(initial=-1)) + 1
    shuffled = np.random.default_rng(seed).permutation(number)
    return shuffled[codes] % GROUPS, number


def signed_weights(is_current: np.ndarray) -> np.ndarray:
    """(R,) one over its window's rows, negative in the reference: weighted sums are differences of means."""
    current = int(is_current.sum())
    return np.where(is_current, 1 / max(current, 1), -1 / max(len(is_current) - current, 1))


def bin_contributions(codes: np.ndarray, num_bins: int, weights: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """(G, L) each group's part in the change of each bin's share; `codes` are bins (R,)."""
    num_groups = int(groups.max()) + 1
    sums = np.bincount(groups * num_bins + codes, weights, num_groups * num_bins).reshape(num_groups, num_bins)
    shares = np.bincount(codes, minlength=num_bins) / len(codes)
    return np.asarray(sums - sums.sum(1, keepdims=True) * shares)


def value_contributions(values: np.ndarray, weights: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """(G, L) each group's part in the change of each mean; `values` are (R, L)."""
    centred = (values - values.mean(0)) * weights[:, None]
    return np.stack([np.bincount(groups, column) for column in centred.T], axis=1)


def flipped(contributions_GL: np.ndarray, flips_PG: np.ndarray) -> np.ndarray:
    """(P, L) the differences under each draw."""
    return flips_PG[:, : len(contributions_GL)] @ contributions_GL.astype(np.float32)


class Statistic(NamedTuple):
    """What was observed, the larger the further from no move, and the same under each draw (P,)."""

    observed: float
    null: np.ndarray

    @property
    def p_value(self) -> float:
        """Share of draws at least as large, the observation itself counted among them."""
        return float((1 + np.count_nonzero(self.null >= self._lowered)) / (1 + len(self.null)))

    @property
    def p_values_of_draws(self) -> np.ndarray:
        """(1 + P,) the p-value of the observation, then of each draw as if it were observed."""
        return np.asarray(rankdata(-np.r_[self._lowered, self.null], "max") / (1 + len(self.null)))

    @property
    def _lowered(self) -> float:
        """By more than the rounding of draws."""
        return self.observed * (1 - 1e-5) - 1e-12


def joint_p_value(statistics: Sequence[Statistic]) -> float:
    """One p-value of several statistics of the same draws: how often the least of their p-values is as small.

    As the draws know how much the statistics tell the same, it costs less than a factor of their number (Westfall and
    Young, 1993).
    """
    least = np.min([statistic.p_values_of_draws for statistic in statistics], axis=0)
    return float(np.count_nonzero(least <= least[0]) / len(least))


def mix_statistics(contributions_GL: np.ndarray, shares_L: np.ndarray, flips_PG: np.ndarray) -> list[Statistic]:
    """Two of a mix: the sum of squared changes over their shares (chi-square), and the largest by its noise.

    The first is what the population stability index is for small moves, the second sees one category alone.
    """
    scale = np.sqrt(np.maximum(shares_L, 1e-12))
    noise = np.sqrt((contributions_GL**2).sum(0))
    noise = np.where(noise > 0, noise, np.inf)
    null, observed = flipped(contributions_GL, flips_PG), contributions_GL.sum(0)
    return [
        Statistic(float(((observed / scale) ** 2).sum()), ((null / scale) ** 2).sum(1)),
        Statistic(float(np.abs(observed / noise).max()), np.abs(null / noise).max(1)),
    ]


def mean_statistics(contributions_GL: np.ndarray, flips_PG: np.ndarray) -> list[Statistic]:
    """Each difference of means, two-sided."""
    null, observed = np.abs(flipped(contributions_GL, flips_PG)), np.abs(contributions_GL.sum(0))
    return [Statistic(float(value), null[:, place]) for place, value in enumerate(observed)]


def distance_statistic(contributions_GL: np.ndarray, flips_PG: np.ndarray) -> Statistic:
    """One of many rare categories: the squared distance of the two windows' shares, over all of them.

    Each group's products with each other group are enough, however many categories there are.
    """
    gram = (contributions_GL @ contributions_GL.T).astype(np.float32)
    signs = flips_PG[:, : len(gram)]
    return Statistic(float(gram.sum()), ((signs @ gram) * signs).sum(1))
