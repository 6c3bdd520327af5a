"""AUC, and the bootstrap over groups of rows that gives its interval.

AUC is the chance that a positive scores above a negative, equal scores counting half (Mann-Whitney). Rows of one group
(the pairs of a query, the candidates of a request) are alike, so whole groups are drawn, never rows (our choice). A
replicate repeats a row as often as its group was drawn: weights that the AUC takes at once, which scikit-learn's does
one weighting at a time.

Shape suffixes: N rows, M some of them, G groups, R replicates, T ties (runs of equal scores).
"""

from dataclasses import dataclass, replace

import numpy as np

_CHUNK = 64  # replicates whose weights are spread over the rows at a time


def auc(label_N: np.ndarray, score_N: np.ndarray) -> float | None:
    """AUC of 0/1 labels and scores; None where a class is missing."""
    order_N = np.argsort(score_N, kind="stable")
    value = _weighted_aucs(label_N[order_N], score_N[order_N], np.ones((1, len(order_N))))[0]
    return None if np.isnan(value) else float(value)


def percentile_interval(values_R: np.ndarray, level: float = 0.95) -> list[float] | None:
    """[low, high] that hold the middle `level` of the replicates, NaN left out; None if nothing is left."""
    known = values_R[~np.isnan(values_R)]
    if not len(known):
        return None
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return [float(low), float(high)]


@dataclass(frozen=True)
class Bootstrap:
    """As many groups as there are, drawn with replacement; shared by all that is compared, so that differences pair up.

    Attributes:
        group_N: the group of each row, int64 codes 0..G-1.
        times_RG: how often each replicate drew each group, float64.
    """

    group_N: np.ndarray
    times_RG: np.ndarray

    @classmethod
    def draw(cls, group_N: np.ndarray, replicates: int, seed: int) -> "Bootstrap":
        """Replicates of n >= 1 rows with the group codes 0..G-1."""
        groups = int(group_N.max()) + 1
        draws_RG = np.random.default_rng(seed).multinomial(groups, np.full(groups, 1 / groups), size=replicates)
        return cls(group_N, draws_RG.astype(np.float64))

    def at(self, rows_M: np.ndarray) -> "Bootstrap":
        """The same draws for some of the rows."""
        return replace(self, group_N=self.group_N[rows_M])

    def aucs(self, label_N: np.ndarray, score_N: np.ndarray) -> np.ndarray:
        """AUC of every replicate, float64 (R,); NaN where it drew one class only."""
        order_N = np.argsort(score_N, kind="stable")
        label_N, score_N = label_N[order_N], score_N[order_N]
        group_N = self.group_N[order_N]
        chunks = [
            _weighted_aucs(label_N, score_N, self.times_RG[start : start + _CHUNK, group_N])
            for start in range(0, len(self.times_RG), _CHUNK)
        ]
        return np.concatenate([np.empty(0), *chunks])


def _weighted_aucs(label_N: np.ndarray, score_N: np.ndarray, weight_RN: np.ndarray) -> np.ndarray:
    """AUC (R,) of rows in ascending order of their scores, under each weighting; NaN where a class has no weight."""
    if not len(score_N):
        return np.full(len(weight_RN), np.nan)
    first_T = np.flatnonzero(np.r_[True, score_N[1:] != score_N[:-1]])
    positive_RT = np.add.reduceat(weight_RN * label_N, first_T, axis=1)
    negative_RT = np.add.reduceat(weight_RN * (1 - label_N), first_T, axis=1)
    below_RT = np.cumsum(negative_RT, axis=1) - negative_RT
    wins_R = (positive_RT * (below_RT + negative_RT / 2)).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(wins_R / (positive_RT.sum(axis=1) * negative_RT.sum(axis=1)))
