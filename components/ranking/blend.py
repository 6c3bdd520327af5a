"""Fitting the final blend on the validation part (our choice): logistic regression with non-negative weights.

Shape suffixes: N rows.
"""

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, log_expit

from components.contracts.blend import Blend, logit

_RIDGE = 1e-4  # keeps weights finite where a logit separates the labels


def fit_blend(
    relevance: np.ndarray,
    p_click: np.ndarray,
    p_purchase: np.ndarray,
    click: np.ndarray,
    prior: dict[str, float],
) -> Blend:
    """Weights of the three logits and a bias, by maximum likelihood of the native clicks (all arrays (n,)).

    Weights are kept at or above zero: a better relevance or probability never lowers a score.
    """
    logits_N3 = np.stack([logit(relevance), logit(p_click), logit(p_purchase)], axis=1)
    inputs_N4 = np.concatenate([logits_N3, np.ones((len(click), 1))], axis=1)
    sign_N = 2.0 * click - 1.0

    def objective(weights_4: np.ndarray) -> tuple[float, np.ndarray]:
        margin_N = sign_N * (inputs_N4 @ weights_4)
        penalty = _RIDGE * weights_4[:3]
        value = -log_expit(margin_N).mean() + 0.5 * float(penalty @ weights_4[:3])
        gradient_4 = -(sign_N * expit(-margin_N)) @ inputs_N4 / len(click)
        gradient_4[:3] += penalty
        return float(value), gradient_4

    bounds = [(0.0, None)] * 3 + [(None, None)]
    found = minimize(objective, x0=np.array([0.0, 1.0, 0.0, 0.0]), jac=True, method="L-BFGS-B", bounds=bounds)
    first, second, third, bias = (float(x) for x in found.x)
    return Blend((first, second, third), bias, prior)


def relevance_prior(relevance: np.ndarray, market: np.ndarray, markets: tuple[str, ...]) -> dict[str, float]:
    """Market -> mean of the known relevances (NaN: unknown); a market with none has the mean over all, else 0.5."""
    known = np.isfinite(relevance)
    overall = float(relevance[known].mean(dtype=np.float64)) if known.any() else 0.5
    means = {name: relevance[known & (market == name)] for name in markets}
    return {name: float(values.mean(dtype=np.float64)) if len(values) else overall for name, values in means.items()}


def fill_relevance(relevance: np.ndarray, market: np.ndarray, prior: dict[str, float]) -> np.ndarray:
    """Relevance with the market's prior where it is unknown."""
    names, codes = np.unique(market, return_inverse=True)
    stand_in = np.array([prior[str(name)] for name in names])[codes]
    return np.where(np.isfinite(relevance), relevance, stand_in)
