"""The blend: what it recovers, what it never does, and what stands in for a missing relevance."""

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from components.contracts.blend import logit
from components.ranking.blend import fill_relevance, fit_blend, relevance_prior


def world(weights: tuple[float, float, float], bias: float, rows: int = 20000) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(0)
    relevance, click, purchase = (expit(rng.normal(scale=1.5, size=rows)) for _ in range(3))
    total = bias + weights[0] * logit(relevance) + weights[1] * logit(click) + weights[2] * logit(purchase)
    return relevance, click, purchase, (rng.random(rows) < expit(total)).astype(np.float64)


def test_it_recovers_the_weights_that_made_the_clicks() -> None:
    relevance, p_click, p_purchase, click = world((0.5, 1.2, 0.3), -1.0)
    blend = fit_blend(relevance, p_click, p_purchase, click, {"TH": 0.4})
    np.testing.assert_allclose(blend.weights, (0.5, 1.2, 0.3), atol=0.07)
    assert blend.bias == pytest.approx(-1.0, abs=0.07)
    inputs = np.stack([logit(relevance), logit(p_click), logit(p_purchase)], axis=1)
    peer = LogisticRegression(C=1e4).fit(inputs, click)
    np.testing.assert_allclose(blend.weights, peer.coef_[0], atol=5e-3)


def test_it_is_calibrated_where_it_was_fitted() -> None:
    relevance, p_click, p_purchase, click = world((0.5, 1.2, 0.3), -1.0)
    score = fit_blend(relevance, p_click, p_purchase, click, {}).score(relevance, p_click, p_purchase)
    assert score.mean() == pytest.approx(click.mean(), rel=0.01)


def test_weights_are_never_negative() -> None:
    relevance, p_click, p_purchase, click = world((-0.8, 1.0, -0.4), 0.0)
    blend = fit_blend(relevance, p_click, p_purchase, click, {})
    assert blend.weights[0] == 0
    assert blend.weights[2] == 0
    assert blend.weights[1] > 0.5


def test_it_stays_finite_where_labels_are_separable_and_where_there_is_one_class() -> None:
    p = np.array([1e-9, 0.1, 0.9, 1.0])
    for click in (np.array([0.0, 0, 1, 1]), np.zeros(4)):
        score = fit_blend(p, p, p, click, {}).score(p, p, p)
        assert np.isfinite(score).all()
    assert roc_auc_score([0, 0, 1, 1], fit_blend(p, p, p, np.array([0.0, 0, 1, 1]), {}).score(p, p, p)) == 1


def test_priors_are_market_means_with_stand_ins() -> None:
    relevance = np.array([0.2, 0.4, np.nan, 0.9])
    market = np.array(["ID", "ID", "ID", "TH"])
    prior = relevance_prior(relevance, market, ("ID", "TH", "VN"))
    assert prior == pytest.approx({"ID": 0.3, "TH": 0.9, "VN": 0.5})
    assert relevance_prior(np.full(2, np.nan), market[:2], ("ID",)) == {"ID": 0.5}
    np.testing.assert_allclose(fill_relevance(relevance, market, prior), [0.2, 0.4, 0.3, 0.9])
