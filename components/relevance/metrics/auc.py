"""AUC per market, macro and pooled, of one model and of its bootstrap replicates.

Shape suffixes: N rows (judged pairs), R replicates.
"""

from collections.abc import Sequence

import numpy as np

from components.contracts.tools.resampling import Bootstrap, auc

MarketAucs = dict[str, float | None]


def market_aucs(market_N: np.ndarray, label_N: np.ndarray, score_N: np.ndarray, markets: Sequence[str]) -> MarketAucs:
    """AUC of each market (None where it has one class), "macro" (their mean) and "pooled" (all rows together)."""
    found = {name: auc(label_N[market_N == name], score_N[market_N == name]) for name in markets}
    known = [value for value in found.values() if value is not None]
    return found | {"macro": float(np.mean(known)) if known else None, "pooled": auc(label_N, score_N)}


def replicated_aucs(
    market_N: np.ndarray, label_N: np.ndarray, score_N: np.ndarray, markets: Sequence[str], bootstrap: Bootstrap
) -> dict[str, np.ndarray]:
    """The figures of `market_aucs` in every replicate, each float64 (R,), NaN where undefined."""
    found = {}
    for name in markets:
        rows = np.flatnonzero(market_N == name)
        found[name] = bootstrap.at(rows).aucs(label_N[rows], score_N[rows])
    # A replicate may leave a market without one of the classes: the mean is over the markets it has.
    stacked = np.stack(list(found.values()))
    with np.errstate(invalid="ignore"):
        found["macro"] = np.nansum(stacked, axis=0) / (~np.isnan(stacked)).sum(axis=0)
    found["pooled"] = bootstrap.aucs(label_N, score_N)
    return found
