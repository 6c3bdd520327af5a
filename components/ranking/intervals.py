"""Metrics of one variant with 95 % intervals, and differences to another by the paired bootstrap over requests.

Requests are drawn with replacement, the same draws for every variant, so that a difference's interval is that of the
difference.

Shape suffixes: N rows, G requests, R replicates.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from components.contracts.tools.resampling import Bootstrap, auc, percentile_interval
from components.ranking.config import RANKING_METRICS
from components.ranking.evaluation import PerRequest, compact, request_auc, request_hit_rate, request_ndcg


@dataclass(frozen=True)
class Replicated:
    """Metric -> its value, and its value in each replicate (R,)."""

    value: dict[str, float]
    replicates: dict[str, np.ndarray]


class RankingBootstrap:
    """Evaluates scores of one set of rows, always under the same draws of requests."""

    def __init__(self, request_N: np.ndarray, label_N: np.ndarray, replicates: int, seed: int) -> None:
        self.request_N = compact(request_N)
        self.label_N = label_N.astype(np.float64)
        self.bootstrap = Bootstrap.draw(self.request_N, replicates, seed)

    def evaluate(self, score_N: np.ndarray) -> Replicated:
        """AUC, GAUC, HR@5 and NDCG@10 of these scores."""
        per_request: dict[str, PerRequest] = {
            "gauc": request_auc(self.request_N, self.label_N, score_N),
            "hr@5": request_hit_rate(self.request_N, self.label_N, score_N, 5),
            "ndcg@10": request_ndcg(self.request_N, self.label_N, score_N, 10),
        }
        whole = auc(self.label_N, score_N)
        return Replicated(
            {"auc": np.nan if whole is None else whole}
            | {name: float(metric.mean()) for name, metric in per_request.items()},
            {"auc": self.bootstrap.aucs(self.label_N, score_N)}
            | {name: metric.mean(self.bootstrap.times_RG) for name, metric in per_request.items()},
        )


def with_intervals(variants: Mapping[str, Replicated], baseline: str) -> dict[str, dict[str, Any]]:
    """Variant -> {metric: value, "interval": {metric: [low, high]}, "difference": {metric: [value, low, high]}}.

    Differences are to `baseline`. A figure that cannot be computed (a single class) is None.
    """
    against = variants[baseline]
    return {
        name: {metric: _number(variant.value[metric]) for metric in RANKING_METRICS}
        | {
            "interval": {metric: _interval(variant.replicates[metric]) for metric in RANKING_METRICS},
            "difference": {
                metric: [
                    _number(variant.value[metric] - against.value[metric]),
                    *_interval(variant.replicates[metric] - against.replicates[metric]),
                ]
                for metric in RANKING_METRICS
            },
        }
        for name, variant in variants.items()
    }


def ratio_interval(
    request_N: np.ndarray, over_N: np.ndarray, under_N: np.ndarray, replicates: int, seed: int
) -> list[float] | None:
    """[low, high] of the sum of one column over that of another, requests (codes 0..G-1) drawn with replacement."""
    times_RG = Bootstrap.draw(request_N, replicates, seed).times_RG
    over_R, under_R = (times_RG @ np.bincount(request_N, column_N) for column_N in (over_N, under_N))
    drawn = under_R > 0
    return percentile_interval(over_R[drawn] / under_R[drawn])


def _interval(replicates_R: np.ndarray) -> list[float | None]:
    bounds = percentile_interval(replicates_R)
    return [None, None] if bounds is None else [round(bound, 6) for bound in bounds]


def _number(value: float) -> float | None:
    return round(value, 6) if np.isfinite(value) else None
