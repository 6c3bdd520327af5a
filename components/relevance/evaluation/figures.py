"""Figures of every variant from its out-of-fold predictions.

Shape suffixes: S seeds, n rows, N experts, K experts chosen, R replicates.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score, ndcg_score

from components.contracts.tools.resampling import Bootstrap, percentile_interval
from components.relevance.config import RelevanceConfig
from components.relevance.fitting.crossfit import CrossFit
from components.relevance.judgments.judged import Judged
from components.relevance.metrics.auc import MarketAucs, market_aucs, replicated_aucs

NDCG_DEPTH = 10
# A router has collapsed if it gives an expert less than this part of an even share.
_COLLAPSED = 0.05


def evaluate(data: Judged, crossed: CrossFit, config: RelevanceConfig) -> dict[str, Any]:
    """Metrics for the model's manifest.

    Returns:
        relevance: variant -> {market: auc or None, "macro", "pooled", "interval": the same keys -> [low, high]}.
        deltas: variant -> {each market, "macro" and "pooled": {"mixture_minus": points, "interval": [low, high]}},
            the same replicates on both sides; without the markets of one class.
        relevant: market -> number of its judgments that reach the threshold.
        quality: variant -> {"pr_auc", "ndcg@10" (None unless queries have several items of different grades)}.
        seeds: variant -> pooled auc of each seed.
        Every figure is the mean over the seeds. Intervals are 95 % percentiles of a bootstrap over queries; they hold
        the folds' models fixed.
    """
    market = data.frame["market"].to_numpy()
    label = data.label.numpy().astype(np.int64)
    bootstrap = Bootstrap.draw(pd.factorize(data.frame["query"])[0], config.bootstrap, config.seed)
    own = {
        variant: [market_aucs(market, label, logits, data.markets) for logits in logits_Sn]
        for variant, logits_Sn in crossed.logits.items()
    }
    replicates = {
        variant: _mean_replicates(market, label, logits_Sn, data, bootstrap)
        for variant, logits_Sn in crossed.logits.items()
    }
    relevance: dict[str, Any] = {
        variant: {
            **_mean_aucs(aucs),
            "interval": {name: percentile_interval(values_R) for name, values_R in replicates[variant].items()},
        }
        for variant, aucs in own.items()
    }
    mixture = config.variants[0].name
    deltas = {
        variant: {
            figure: {
                "mixture_minus": relevance[mixture][figure] - relevance[variant][figure],
                "interval": percentile_interval(replicates[mixture][figure] - replicates[variant][figure]),
            }
            for figure in (*data.markets, "macro", "pooled")
            if relevance[variant][figure] is not None
        }
        for variant in crossed.logits
        if variant != mixture
    }
    return {
        "relevance": relevance,
        "deltas": deltas,
        "relevant": {name: int(label[market == name].sum()) for name in data.markets},
        "quality": {variant: _quality(data.frame, label, logits) for variant, logits in crossed.logits.items()},
        "seeds": {variant: [each["pooled"] for each in aucs] for variant, aucs in own.items()},
    }


def _mean_aucs(aucs: list[MarketAucs]) -> MarketAucs:
    """Means over seeds; a market without a class has no AUC under any seed."""
    found: MarketAucs = {}
    for name in aucs[0]:
        values = [each[name] for each in aucs]
        known = [value for value in values if value is not None]
        found[name] = float(np.mean(known)) if known else None
    return found


def _mean_replicates(
    market: np.ndarray, label: np.ndarray, logits_Sn: np.ndarray, data: Judged, bootstrap: Bootstrap
) -> dict[str, np.ndarray]:
    """Means over seeds of `replicated_aucs`."""
    each = [replicated_aucs(market, label, logits_n, data.markets, bootstrap) for logits_n in logits_Sn]
    return {name: np.mean([found[name] for found in each], axis=0) for name in each[0]}


def _quality(frame: pd.DataFrame, label: np.ndarray, logits_Sn: np.ndarray) -> dict[str, float | None]:
    precision = float(np.mean([average_precision_score(label, logits) for logits in logits_Sn]))
    ndcg = [value for logits in logits_Sn if (value := mean_ndcg(frame, logits)) is not None]
    return {"pr_auc": precision, f"ndcg@{NDCG_DEPTH}": float(np.mean(ndcg)) if ndcg else None}


def mean_ndcg(frame: pd.DataFrame, logits: np.ndarray) -> float | None:
    """Mean NDCG@10 over the queries whose items have different grades; None where there is no such query."""
    grade = frame["grade"].to_numpy()
    found = [
        ndcg_score(grade[None, rows], logits[None, rows], k=NDCG_DEPTH)
        for rows in frame.groupby(["market", "query"]).indices.values()
        if len(set(grade[rows])) > 1
    ]
    return float(np.mean(found)) if found else None


def routing_shares(chosen_nK: np.ndarray, market: np.ndarray, markets: tuple[str, ...], count: int) -> np.ndarray:
    """Share of each market's rows that chose each expert, float64 (markets, experts); a row sums to k, or is 0."""
    shares = np.zeros((len(markets), count))
    for row, name in enumerate(markets):
        own_nK = chosen_nK[market == name]
        if len(own_nK):
            shares[row] = np.bincount(own_nK.ravel(), minlength=count) / len(own_nK)
    return shares


def folds_balance(mask_SnN: np.ndarray, fold: np.ndarray) -> dict[str, Any]:
    """`routing_balance` over the routers of all folds and seeds: their mean entropy, and whether any has collapsed."""
    each = [routing_balance(mask_nN[fold == number]) for mask_nN in mask_SnN for number in np.unique(fold)]
    return {
        "entropy": float(np.mean([balance["entropy"] for balance in each])),
        "collapsed": any(balance["collapsed"] for balance in each),
    }


def routing_balance(mask_nN: np.ndarray) -> dict[str, Any]:
    """How evenly one router spreads rows over experts: {"entropy": 0 (one has all) .. 1 (even), "collapsed": bool}."""
    share_N = mask_nN.mean(axis=0) / mask_nN.mean(axis=0).sum()
    used_N = share_N[share_N > 0]
    entropy = float(-(used_N * np.log(used_N)).sum() / np.log(len(share_N))) if len(share_N) > 1 else 1.0
    return {"entropy": entropy, "collapsed": bool(share_N.min() < _COLLAPSED / len(share_N))}


def active_parameters(crossed: CrossFit, parameters: Mapping[str, int], config: RelevanceConfig) -> dict[str, float]:
    """Mean parameters that run for a row, embedding tables left out, by variant and by model alone.

    Args:
        crossed: its masks say which experts a row of each routed variant asked.
        parameters: number of each expert's in slot order, then of the dense baseline's where there is one.
        config: names the experts.
    """
    own_N = np.array([parameters[expert.name] for expert in config.experts], dtype=np.float64)
    routed = {name: float(((mask_SnN > 0) @ own_N).mean()) for name, mask_SnN in crossed.masks.items()}
    return routed | {name: float(count) for name, count in parameters.items()}
