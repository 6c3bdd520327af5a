"""How much of the say the experts have, and how much the lexical expert: a blend of their logits.

A head on language models' wide vectors wants many judgments; character n-grams judge by less. Which of both judges a
set better, and by how much, its own pairs say, if neither has seen their labels. A small set says it badly: so the
lexical expert begins with a share of a quarter, and one that is far from it has to be much more likely. (Our choice,
from draws of 300 to 3,000 judgments of the half of the queries that does not test in the study of learning curves.)

Shape suffixes: n pairs.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

# Shares that are tried: a grid, so that rounding decides nothing.
_SHARES = np.linspace(0.0, 1.0, 21)
_FIRST_SHARE = 0.25
# Log-likelihood that a share must gain, times its squared distance from the first.
_PRICE = 16.0


@dataclass(frozen=True)
class Blend:
    """Weights of two logits, neither negative; and the lexical one's share of what moves their sum, 0..1."""

    experts: float
    lexical: float
    share: float

    def logits(self, experts_n: np.ndarray, lexical_n: np.ndarray) -> np.ndarray:
        """float64 (n,)."""
        return self.experts * experts_n.astype(np.float64) + self.lexical * lexical_n.astype(np.float64)


EXPERTS_ONLY = Blend(1.0, 0.0, 0.0)


def fit_blend(experts_n: np.ndarray, lexical_n: np.ndarray, label_n: np.ndarray) -> Blend:
    """The blend under which n pairs' labels are most likely, less the price of its share.

    Neither logit may come from a model that was fitted on these pairs.
    """
    deviations = float(experts_n.std()), float(lexical_n.std())
    if not deviations[1]:
        return EXPERTS_ONLY
    # An expert without deviation has nothing to say, whatever its weight.
    blends = [Blend((1 - share) / (deviations[0] or 1.0), share / deviations[1], share) for share in _SHARES.tolist()]
    costs = [
        _log_loss(blend.logits(experts_n, lexical_n), label_n) + _PRICE * (blend.share - _FIRST_SHARE) ** 2
        for blend in blends
    ]
    return blends[int(np.argmin(np.round(costs, 6)))]


def blend_out_of_fold(
    experts_n: np.ndarray, lexical_n: np.ndarray, label_n: np.ndarray, fold_n: np.ndarray
) -> np.ndarray:
    """Blended logits float64 (n,) of out-of-fold ones, a fold by the weights that the other folds want."""
    blended_n = np.empty(len(label_n))
    for fold in np.unique(fold_n):
        own, others = fold_n == fold, fold_n != fold
        blend = fit_blend(experts_n[others], lexical_n[others], label_n[others])
        blended_n[own] = blend.logits(experts_n[own], lexical_n[own])
    return blended_n


def _log_loss(logits_n: np.ndarray, label_n: np.ndarray) -> float:
    """Cross-entropy of all pairs together, the logits calibrated; those that point the wrong way say nothing."""
    if len(set(label_n)) < 2:
        return 0.0
    model = LogisticRegression(C=1e6).fit(logits_n[:, None], label_n)
    told = model.coef_[0, 0] > 0
    probability_n = model.predict_proba(logits_n[:, None])[:, 1] if told else np.full(len(label_n), label_n.mean())
    return float(log_loss(label_n, probability_n, normalize=False))
