"""AUC a market, macro and pooled, with intervals from resampling whole queries.

AUC is the chance that a positive scores above a negative, ties counting half (Mann-Whitney).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

Scores = dict[str, float | None]


def auc(label: np.ndarray, score: np.ndarray) -> float | None:
    """AUC of 0/1 labels (n,) and scores (n,); None where a class is missing."""
    value = weighted_aucs(label, score, np.ones((1, len(label))))[0]
    return None if np.isnan(value) else float(value)


def weighted_aucs(label: np.ndarray, score: np.ndarray, weights_RN: np.ndarray) -> np.ndarray:
    """AUC under each of R row weightings (R, n), float64 (R,); NaN where a class has no weight."""
    if not len(score):
        return np.full(len(weights_RN), np.nan)
    order = np.argsort(score, kind="stable")
    positive_RN = weights_RN[:, order] * label[order]
    negative_RN = weights_RN[:, order] * (1 - label[order])
    starts = np.flatnonzero(np.r_[True, np.diff(score[order]) > 0])
    positive_RG = np.add.reduceat(positive_RN, starts, axis=1)
    negative_RG = np.add.reduceat(negative_RN, starts, axis=1)
    below_RG = np.cumsum(negative_RG, axis=1) - negative_RG
    wins_R = (positive_RG * (below_RG + 0.5 * negative_RG)).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(wins_R / (positive_RG.sum(axis=1) * negative_RG.sum(axis=1)))


@dataclass(frozen=True)
class Resamples:
    """Bootstrap weights: how often each row's query was drawn, float32 (R, n); shared by variants, so they pair up."""

    weights_RN: np.ndarray

    @classmethod
    def draw(cls, queries: pd.Series, count: int, seed: int) -> "Resamples":
        """Draw as many queries as there are, with replacement, `count` times."""
        codes, distinct = pd.factorize(queries)
        size = len(distinct)
        draws_RQ = np.random.default_rng(seed).multinomial(size, np.full(size, 1 / size), size=count)
        return cls(draws_RQ.astype(np.float32)[:, codes])


def market_aucs(market: np.ndarray, label: np.ndarray, score: np.ndarray, markets: Sequence[str]) -> Scores:
    """AUC of each market (None where it has one class), "macro" (their mean) and "pooled" (all rows together)."""
    found = {name: auc(label[market == name], score[market == name]) for name in markets}
    known = [value for value in found.values() if value is not None]
    return found | {"macro": float(np.mean(known)) if known else None, "pooled": auc(label, score)}


def resampled_aucs(
    market: np.ndarray, label: np.ndarray, score: np.ndarray, markets: Sequence[str], resamples: Resamples
) -> dict[str, np.ndarray]:
    """The figures of `market_aucs` under every resample, each float64 (R,), NaN where undefined."""
    found = {}
    for name in markets:
        rows = np.flatnonzero(market == name)
        found[name] = weighted_aucs(label[rows], score[rows], resamples.weights_RN[:, rows])
    # A resample may leave a market without one of the classes: the mean is over the markets it has.
    stacked = np.stack(list(found.values()))
    with np.errstate(invalid="ignore"):
        found["macro"] = np.nansum(stacked, axis=0) / (~np.isnan(stacked)).sum(axis=0)
    found["pooled"] = weighted_aucs(label, score, resamples.weights_RN)
    return found


def interval(values_R: np.ndarray, level: float = 0.95) -> list[float] | None:
    """Percentile interval of bootstrap values, NaN left out; None if nothing is left."""
    known = values_R[~np.isnan(values_R)]
    if not len(known):
        return None
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return [float(low), float(high)]
