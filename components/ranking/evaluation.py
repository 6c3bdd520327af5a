"""Ranking metrics as pure numpy functions over whole columns; no loop over rows or requests.

Conventions (the source names AUC, GAUC and HR@5 and defines none of them; our choice):
- GAUC: AUC within each request, averaged with the request's exposures as weights; requests with one class are skipped.
- HR@k: share of the requests with a positive that have one among their first k. NDCG@k: likewise over requests with a
  positive, gains 0 or 1.
- Equal scores count half in an AUC, and are put in a fixed pseudo-random order elsewhere, never in the log's order.

Shape suffixes: N rows, R requests, W replicates of the bootstrap.
"""

from dataclasses import dataclass

import numpy as np

METRICS = ("auc", "gauc", "hr@5", "ndcg@10")
_TIE_SEED = 0


@dataclass(frozen=True)
class PerRequest:
    """A metric of each request (R,), NaN where the request has none, and the weight (R,) it has in the mean."""

    value: np.ndarray
    weight: np.ndarray

    def mean(self, times_WR: np.ndarray | None = None) -> np.ndarray:
        """Weighted mean, NaN if no request counts; with `times_WR` one mean a replicate, requests so often repeated."""
        counted_R = np.isfinite(self.value)
        weight_R = np.where(counted_R, self.weight, 0.0)
        value_R = np.where(counted_R, self.value, 0.0)
        times = np.ones((1, len(value_R))) if times_WR is None else times_WR
        with np.errstate(invalid="ignore"):
            means = (times @ (value_R * weight_R)) / (times @ weight_R)
        return np.asarray(means[0] if times_WR is None else means)


def auc(label_N: np.ndarray, score_N: np.ndarray, weight_N: np.ndarray | None = None) -> float:
    """Area under the ROC curve, ties counting half; NaN with one class. Equals sklearn's roc_auc_score."""
    order = np.argsort(score_N, kind="stable")
    return float(
        sorted_auc(
            label_N[order], score_N[order], np.ones((1, len(order))) if weight_N is None else weight_N[order][None]
        )[0]
    )


def sorted_auc(label_N: np.ndarray, score_N: np.ndarray, weight_WN: np.ndarray) -> np.ndarray:
    """AUCs (W,) of rows in ascending order of score under several weightings."""
    runs = np.flatnonzero(np.r_[True, score_N[1:] != score_N[:-1]])
    positive = np.add.reduceat(weight_WN * label_N, runs, axis=1)
    negative = np.add.reduceat(weight_WN * (1 - label_N), runs, axis=1)
    below = np.cumsum(negative, axis=1) - negative
    with np.errstate(invalid="ignore"):
        return np.asarray((positive * (below + negative / 2)).sum(1) / (positive.sum(1) * negative.sum(1)))


def request_auc(request_N: np.ndarray, label_N: np.ndarray, score_N: np.ndarray) -> PerRequest:
    """AUC of each request (codes 0..R-1), weighted by its rows; NaN with one class."""
    size_R = np.bincount(request_N)
    order = np.lexsort((score_N, request_N))
    request, score = request_N[order], score_N[order]
    run = np.cumsum(np.r_[True, (request[1:] != request[:-1]) | (score[1:] != score[:-1])]) - 1
    place = np.arange(len(order), dtype=np.float64)
    rank_N = (np.bincount(run, place) / np.bincount(run))[run] - (np.cumsum(size_R) - size_R)[request]
    label = label_N[order]
    positive_R = np.bincount(request, label, minlength=len(size_R))
    negative_R = size_R - positive_R
    ranks_R = np.bincount(request, rank_N * label, minlength=len(size_R))
    with np.errstate(invalid="ignore", divide="ignore"):
        value_R = (ranks_R - positive_R * (positive_R - 1) / 2) / (positive_R * negative_R)
    return PerRequest(np.where((positive_R > 0) & (negative_R > 0), value_R, np.nan), size_R.astype(np.float64))


def request_hit_rate(request_N: np.ndarray, label_N: np.ndarray, score_N: np.ndarray, k: int) -> PerRequest:
    """1 where a request has a positive among its first k rows, 0 where it has none there, NaN where it has none."""
    place_N = places(request_N, score_N)
    any_R = np.bincount(request_N, label_N)
    hits_R = np.bincount(request_N, label_N * (place_N < k), minlength=len(any_R))
    return PerRequest(np.where(any_R > 0, np.minimum(hits_R, 1.0), np.nan), np.ones(len(any_R)))


def request_ndcg(request_N: np.ndarray, gain_N: np.ndarray, score_N: np.ndarray, k: int) -> PerRequest:
    """NDCG@k of each request, gains taken as they are (not exponentiated); NaN where no row has one."""
    discounted_R = _dcg(request_N, gain_N, places(request_N, score_N), k)
    ideal_R = _dcg(request_N, gain_N, places(request_N, gain_N), k)
    with np.errstate(invalid="ignore", divide="ignore"):
        return PerRequest(np.where(ideal_R > 0, discounted_R / ideal_R, np.nan), np.ones(len(ideal_R)))


def request_agreement(request_N: np.ndarray, target_N: np.ndarray, score_N: np.ndarray) -> PerRequest:
    """Share of each request's pairs of rows with different targets that the scores put in the targets' order.

    Equal scores count half. This is GAUC for a graded target; chance is 0.5. Requests are weighted by their rows.
    """
    size_R = np.bincount(request_N)
    order = np.argsort(request_N, kind="stable")
    width = int(size_R.max())
    column_N = np.arange(len(order)) - np.repeat(np.cumsum(size_R) - size_R, size_R)
    target_RW = np.full((len(size_R), width), np.nan)
    score_RW = np.full((len(size_R), width), np.nan)
    target_RW[request_N[order], column_N] = target_N[order]
    score_RW[request_N[order], column_N] = score_N[order]
    agreed_R, pairs_R = np.zeros(len(size_R)), np.zeros(len(size_R))
    for shift in range(1, width):
        target_gap = target_RW[:, shift:] - target_RW[:, :-shift]
        score_gap = score_RW[:, shift:] - score_RW[:, :-shift]
        counted = np.isfinite(target_gap) & (target_gap != 0)
        agreed_R += np.where(counted, 0.5 + 0.5 * np.sign(score_gap) * np.sign(target_gap), 0).sum(1)
        pairs_R += counted.sum(1)
    with np.errstate(invalid="ignore"):
        return PerRequest(np.where(pairs_R > 0, agreed_R / pairs_R, np.nan), size_R.astype(np.float64))


def places(request_N: np.ndarray, score_N: np.ndarray) -> np.ndarray:
    """0-based place of each row in its request, best score first, ties in a fixed pseudo-random order."""
    size_R = np.bincount(request_N)
    tie_N = np.random.default_rng(_TIE_SEED).permutation(len(request_N))
    order = np.lexsort((tie_N, -score_N, request_N))
    place_N = np.empty(len(order), dtype=np.int64)
    place_N[order] = np.arange(len(order)) - np.repeat(np.cumsum(size_R) - size_R, size_R)
    return place_N


def compact(request_N: np.ndarray) -> np.ndarray:
    """Codes 0..R-1 of the requests that occur."""
    return np.unique(request_N, return_inverse=True)[1]


def roc_points(label_N: np.ndarray, score_N: np.ndarray, most: int) -> tuple[list[float], list[float], list[float]]:
    """(false positive rates, true positive rates, thresholds), thresholds descending, thinned to at most `most`.

    The first point is (0, 0), at a threshold just above the largest score; all values are finite.
    """
    order = np.argsort(-score_N, kind="stable")
    label, score = label_N[order].astype(np.float64), score_N[order].astype(np.float64)
    ends = np.flatnonzero(np.r_[score[1:] != score[:-1], True])
    ends = ends[np.unique(np.linspace(0, len(ends) - 1, min(most - 1, len(ends))).astype(np.int64))]
    true_rate = np.cumsum(label)[ends] / label.sum()
    false_rate = np.cumsum(1 - label)[ends] / (1 - label).sum()
    thresholds = np.r_[np.nextafter(score[0], np.inf), score[ends]]
    return [0.0, *false_rate.tolist()], [0.0, *true_rate.tolist()], thresholds.tolist()


def _dcg(request_N: np.ndarray, gain_N: np.ndarray, place_N: np.ndarray, k: int) -> np.ndarray:
    discounts_N = np.where(place_N < k, 1 / np.log2(place_N + 2.0), 0.0)
    return np.bincount(request_N, gain_N * discounts_N)
