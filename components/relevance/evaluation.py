"""Figures of every variant from its out-of-fold predictions."""

from typing import Any

import numpy as np

from components.relevance.auc import Resamples, interval, market_aucs, resampled_aucs
from components.relevance.config import RelevanceConfig
from components.relevance.crossfit import MIXTURE, CrossFit
from components.relevance.judged import Judged


def evaluate(data: Judged, crossed: CrossFit, config: RelevanceConfig) -> dict[str, Any]:
    """Metrics for the model's manifest.

    Returns:
        relevance: variant -> {market: auc or None, "macro", "pooled", "interval": the same keys -> [low, high]}.
        deltas: variant -> {"macro" and "pooled": {"mixture_minus": points, "interval": [low, high]}}, the same
            resamples of queries on both sides.
        Intervals are 95 % percentiles of a bootstrap over queries; they hold the folds' models fixed.
    """
    market = data.frame["market"].to_numpy()
    label = data.label.numpy().astype(np.int64)
    resamples = Resamples.draw(data.frame["query"], config.bootstrap, config.seed)
    resampled = {
        variant: resampled_aucs(market, label, logits, data.markets, resamples)
        for variant, logits in crossed.logits.items()
    }
    relevance: dict[str, Any] = {
        variant: {
            **market_aucs(market, label, logits, data.markets),
            "interval": {name: interval(values) for name, values in resampled[variant].items()},
        }
        for variant, logits in crossed.logits.items()
    }
    deltas = {
        variant: {
            figure: {
                "mixture_minus": relevance[MIXTURE][figure] - relevance[variant][figure],
                "interval": interval(resampled[MIXTURE][figure] - resampled[variant][figure]),
            }
            for figure in ("macro", "pooled")
            if relevance[variant][figure] is not None
        }
        for variant in crossed.logits
        if variant != MIXTURE
    }
    return {"relevance": relevance, "deltas": deltas}


def routing_shares(experts_NK: np.ndarray, market: np.ndarray, markets: tuple[str, ...], count: int) -> np.ndarray:
    """Share of each market's rows that chose each expert, float64 (markets, experts); a row sums to k, or is 0."""
    shares = np.zeros((len(markets), count))
    for row, name in enumerate(markets):
        chosen = experts_NK[market == name]
        if len(chosen):
            shares[row] = np.bincount(chosen.ravel(), minlength=count) / len(chosen)
    return shares
