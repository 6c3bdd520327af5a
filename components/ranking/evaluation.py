"""Ranking metrics as pure numpy functions over whole columns; no loop over rows or requests.

Conventions (the source names AUC, GAUC and HR@5 and defines none of them; our choice):
- GAUC: AUC within each request, averaged with the request's exposures as weights; requests with one class are skipped.
- HR@k: share of the requests with a positive that have one among their first k. NDCG@k: likewise over requests with a
  positive, gains 0 or 1.
- Equal scores count half in an AUC, and are put in a fixed pseudo-random order elsewhere, never in the log's order.

Shape suffixes: N rows, G requests (groups of rows), R replicates of the bootstrap, L rows of the longest request.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import roc_auc_score, roc_curve

_TIE_SEED = 0


@dataclass(frozen=True)
class PerRequest:
    """A metric of each request (G,), NaN where the request has none, and the weight (G,) it has in the mean."""

    value: np.ndarray
    weight: np.ndarray

    def mean(self, times_RG: np.ndarray | None = None) -> np.ndarray:
        """Weighted mean (NaN if no request counts); with `times_RG`, one mean per replicate, requests repeated so."""
        counted_G = np.isfinite(self.value)
        weight_G = np.where(counted_G, self.weight, 0.0)
        value_G = np.where(counted_G, self.value, 0.0)
        times = np.ones((1, len(value_G))) if times_RG is None else times_RG
        with np.errstate(invalid="ignore"):
            means = (times @ (value_G * weight_G)) / (times @ weight_G)
        return np.asarray(means[0] if times_RG is None else means)


def request_auc(request_N: np.ndarray, label_N: np.ndarray, score_N: np.ndarray) -> PerRequest:
    """AUC of each request (codes 0..G-1), weighted by its rows; NaN with one class."""
    size_G = np.bincount(request_N)
    order = np.lexsort((score_N, request_N))
    request, score = request_N[order], score_N[order]
    run = np.cumsum(np.r_[True, (request[1:] != request[:-1]) | (score[1:] != score[:-1])]) - 1
    place = np.arange(len(order), dtype=np.float64)
    rank_N = (np.bincount(run, place) / np.bincount(run))[run] - (np.cumsum(size_G) - size_G)[request]
    label = label_N[order]
    positive_G = np.bincount(request, label, minlength=len(size_G))
    negative_G = size_G - positive_G
    ranks_G = np.bincount(request, rank_N * label, minlength=len(size_G))
    with np.errstate(invalid="ignore", divide="ignore"):
        value_G = (ranks_G - positive_G * (positive_G - 1) / 2) / (positive_G * negative_G)
    return PerRequest(np.where((positive_G > 0) & (negative_G > 0), value_G, np.nan), size_G.astype(np.float64))


def request_hit_rate(request_N: np.ndarray, label_N: np.ndarray, score_N: np.ndarray, k: int) -> PerRequest:
    """1 where a request has a positive among its first k rows, 0 where it has none there, NaN where it has none."""
    place_N = places(request_N, score_N)
    any_G = np.bincount(request_N, label_N)
    hits_G = np.bincount(request_N, label_N * (place_N < k), minlength=len(any_G))
    return PerRequest(np.where(any_G > 0, np.minimum(hits_G, 1.0), np.nan), np.ones(len(any_G)))


def request_ndcg(request_N: np.ndarray, gain_N: np.ndarray, score_N: np.ndarray, k: int) -> PerRequest:
    """NDCG@k of each request, gains taken as they are (not exponentiated); NaN where no row has one."""
    discounted_G = _dcg(request_N, gain_N, places(request_N, score_N), k)
    ideal_G = _dcg(request_N, gain_N, places(request_N, gain_N), k)
    with np.errstate(invalid="ignore", divide="ignore"):
        return PerRequest(np.where(ideal_G > 0, discounted_G / ideal_G, np.nan), np.ones(len(ideal_G)))


def request_agreement(request_N: np.ndarray, target_N: np.ndarray, score_N: np.ndarray) -> PerRequest:
    """Share of each request's pairs of rows with different targets that the scores put in the targets' order.

    Equal scores count half. This is GAUC for a graded target; chance is 0.5. Requests are weighted by their rows.
    """
    size_G = np.bincount(request_N)
    order = np.argsort(request_N, kind="stable")
    longest = int(size_G.max())
    column_N = np.arange(len(order)) - np.repeat(np.cumsum(size_G) - size_G, size_G)
    target_GL = np.full((len(size_G), longest), np.nan)
    score_GL = np.full((len(size_G), longest), np.nan)
    target_GL[request_N[order], column_N] = target_N[order]
    score_GL[request_N[order], column_N] = score_N[order]
    agreed_G, pairs_G = np.zeros(len(size_G)), np.zeros(len(size_G))
    for shift in range(1, longest):
        target_gap = target_GL[:, shift:] - target_GL[:, :-shift]
        score_gap = score_GL[:, shift:] - score_GL[:, :-shift]
        counted = np.isfinite(target_gap) & (target_gap != 0)
        agreed_G += np.where(counted, 0.5 + 0.5 * np.sign(score_gap) * np.sign(target_gap), 0).sum(1)
        pairs_G += counted.sum(1)
    with np.errstate(invalid="ignore"):
        return PerRequest(np.where(pairs_G > 0, agreed_G / pairs_G, np.nan), size_G.astype(np.float64))


def expected_auc(chance_N: np.ndarray, score_N: np.ndarray) -> float:
    """AUC in which each row is a positive with its true chance: over labels drawn again and again, what is expected of
    the pairs of a positive and a negative (their order, equal scores counting half, over their number).

    It has none of the noise of one draw of labels. Only simulated data tell true chances.

    Args:
        chance_N: true chance of a click, 0..1.
        score_N: what a variant says.

    Returns:
        0..1, NaN where the chances leave no pair.
    """
    chance, score = chance_N.astype(np.float64), score_N.astype(np.float64)
    # A row and itself are no pair; as a positive and a negative of one score they would count half.
    itself = float((chance * (1 - chance)).sum())
    pairs = float(chance.sum() * (1 - chance).sum())
    if pairs - itself <= 0:
        return float("nan")
    label, twice = np.repeat([1, 0], len(score)), np.r_[score, score]
    area = float(roc_auc_score(label, twice, sample_weight=np.r_[chance, 1 - chance]))
    return (area * pairs - 0.5 * itself) / (pairs - itself)


def places(request_N: np.ndarray, score_N: np.ndarray) -> np.ndarray:
    """0-based place of each row in its request, best score first, ties in a fixed pseudo-random order."""
    size_G = np.bincount(request_N)
    tie_N = np.random.default_rng(_TIE_SEED).permutation(len(request_N))
    order = np.lexsort((tie_N, -score_N, request_N))
    place_N = np.empty(len(order), dtype=np.int64)
    place_N[order] = np.arange(len(order)) - np.repeat(np.cumsum(size_G) - size_G, size_G)
    return place_N


def compact(request_N: np.ndarray) -> np.ndarray:
    """Codes 0..G-1 of the requests that occur."""
    return np.unique(request_N, return_inverse=True)[1]


def roc_points(label_N: np.ndarray, score_N: np.ndarray, most: int) -> tuple[list[float], list[float], list[float]]:
    """(false positive rates, true positive rates, thresholds), thresholds descending, thinned to at most `most`.

    The first point is (0, 0), at a threshold just above the largest score; all values are finite.
    """
    curve = roc_curve(label_N, score_N.astype(np.float64), drop_intermediate=False)
    ends = len(curve[0]) - 1
    kept = np.r_[0, 1 + np.unique(np.linspace(0, ends - 1, min(most - 1, ends)).astype(np.int64))]
    false_rate, true_rate, thresholds = (values[kept] for values in curve)
    thresholds[0] = np.nextafter(thresholds[1], np.inf)  # scikit-learn's is infinite, which JSON cannot hold
    return false_rate.tolist(), true_rate.tolist(), thresholds.tolist()


def _dcg(request_N: np.ndarray, gain_N: np.ndarray, place_N: np.ndarray, k: int) -> np.ndarray:
    discounts_N = np.where(place_N < k, 1 / np.log2(place_N + 2.0), 0.0)
    return np.bincount(request_N, gain_N * discounts_N)
