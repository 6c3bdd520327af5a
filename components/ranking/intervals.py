"""Metrics of one variant with 95 % intervals, and differences to another by the paired bootstrap over requests.

Requests are drawn with replacement, the same draws for every variant, so that a difference's interval is that of the
difference. Shape suffixes: N rows, R requests, W replicates.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from components.ranking.evaluation import (
    METRICS,
    PerRequest,
    compact,
    request_auc,
    request_hit_rate,
    request_ndcg,
    sorted_auc,
)

_CHUNK = 64


@dataclass(frozen=True)
class Replicated:
    """Metric -> its value, and its value in each replicate (W,)."""

    value: dict[str, float]
    replicates: dict[str, np.ndarray]


class RankingBootstrap:
    """Evaluates scores of one set of rows, always under the same draws of requests."""

    def __init__(self, request_N: np.ndarray, label_N: np.ndarray, replicates: int, seed: int) -> None:
        self.request_N = compact(request_N)
        self.label_N = label_N.astype(np.float64)
        requests = int(self.request_N.max()) + 1
        draws = np.random.default_rng(seed).multinomial(requests, np.full(requests, 1 / requests), size=replicates)
        self.times_WR = draws.astype(np.float64)

    def evaluate(self, score_N: np.ndarray) -> Replicated:
        """AUC, GAUC, HR@5 and NDCG@10 of these scores."""
        order = np.argsort(score_N, kind="stable")
        sorted_label, sorted_score, owner = self.label_N[order], score_N[order], self.request_N[order]
        chunks = [
            sorted_auc(sorted_label, sorted_score, self.times_WR[start : start + _CHUNK, owner])
            for start in range(0, len(self.times_WR), _CHUNK)
        ]
        per_request: dict[str, PerRequest] = {
            "gauc": request_auc(self.request_N, self.label_N, score_N),
            "hr@5": request_hit_rate(self.request_N, self.label_N, score_N, 5),
            "ndcg@10": request_ndcg(self.request_N, self.label_N, score_N, 10),
        }
        whole = float(sorted_auc(sorted_label, sorted_score, np.ones((1, len(order))))[0])
        return Replicated(
            {"auc": whole} | {name: float(metric.mean()) for name, metric in per_request.items()},
            {"auc": np.concatenate([np.empty(0), *chunks])}
            | {name: metric.mean(self.times_WR) for name, metric in per_request.items()},
        )


def with_intervals(variants: Mapping[str, Replicated], baseline: str) -> dict[str, dict[str, Any]]:
    """Variant -> {metric: value, "interval": {metric: [low, high]}, "difference": {metric: [value, low, high]}}.

    Differences are to `baseline`. A figure that cannot be computed (a single class) is None.
    """
    against = variants[baseline]
    return {
        name: {metric: _number(variant.value[metric]) for metric in METRICS}
        | {
            "interval": {metric: _interval(variant.replicates[metric]) for metric in METRICS},
            "difference": {
                metric: [
                    _number(variant.value[metric] - against.value[metric]),
                    *_interval(variant.replicates[metric] - against.replicates[metric]),
                ]
                for metric in METRICS
            },
        }
        for name, variant in variants.items()
    }


def _interval(replicates_W: np.ndarray) -> list[float | None]:
    finite = replicates_W[np.isfinite(replicates_W)]
    if len(finite) == 0:
        return [None, None]
    low, high = np.quantile(finite, [0.025, 0.975])
    return [round(float(low), 6), round(float(high), 6)]


def _number(value: float) -> float | None:
    return round(value, 6) if np.isfinite(value) else None
