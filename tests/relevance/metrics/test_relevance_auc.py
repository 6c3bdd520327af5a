"""AUC, intervals, calibration, thresholds and folds."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from components.relevance.config import RelevanceConfig
from components.relevance.evaluation.figures import routing_shares
from components.relevance.judgments.judged import query_folds, split_valid
from components.relevance.metrics.auc import Resamples, auc, interval, market_aucs, resampled_aucs, weighted_aucs
from components.relevance.metrics.calibration import calibrate, calibration_error, fit_platt, thresholds

ROWS = st.lists(st.tuples(st.booleans(), st.integers(-3, 3), st.integers(1, 4)), min_size=2, max_size=40)


@given(ROWS)
@settings(max_examples=80, deadline=None)
def test_weighted_auc_equals_scikit_learns(rows: list[tuple[bool, int, int]]) -> None:
    label, score, weight = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    found = weighted_aucs(label, score, np.stack([np.ones(len(label)), weight]))
    if 0 < label.sum() < len(label):
        assert found[0] == pytest.approx(roc_auc_score(label, score))
        assert found[1] == pytest.approx(roc_auc_score(label, score, sample_weight=weight))
        assert auc(label, score) == pytest.approx(found[0])
    else:
        assert np.isnan(found).all()
        assert auc(label, score) is None


def test_a_market_of_one_class_has_no_auc_and_does_not_spoil_the_rest() -> None:
    market = np.array(["A"] * 6 + ["B"] * 4 + ["C"] * 0)
    label = np.array([1, 0, 1, 0, 1, 0, 1, 1, 1, 1])
    score = np.arange(10.0)
    found = market_aucs(market, label, score, ["A", "B", "C"])
    assert found["B"] is None and found["C"] is None
    assert found["macro"] == found["A"] == pytest.approx(1 / 3)
    resamples = Resamples.draw(pd.Series([f"q{i}" for i in range(10)]), 50, seed=0)
    resampled = resampled_aucs(market, label, score, ["A", "B", "C"], resamples)
    assert interval(resampled["B"]) is None
    assert interval(resampled["macro"]) is not None


def test_resamples_draw_whole_queries_and_repeat() -> None:
    queries = pd.Series(["a", "b", "a", "c", "b", "a"])
    weights = Resamples.draw(queries, 100, seed=3).weights_RN
    assert (weights[:, 0] == weights[:, 2]).all() and (weights[:, 0] == weights[:, 5]).all()
    assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()
    np.testing.assert_array_equal(weights, Resamples.draw(queries, 100, seed=3).weights_RN)


def test_interval_covers_the_true_auc_about_as_often_as_it_says() -> None:
    covered = 0
    for seed in range(60):
        random = np.random.default_rng(seed)
        label = random.integers(0, 2, 400)
        score = label + random.normal(0, 2, 400)  # true AUC: Phi(1 / (2 sqrt 2)) = .638
        queries = pd.Series(np.arange(400) // 2)
        low, high = interval(weighted_aucs(label, score, Resamples.draw(queries, 200, seed).weights_RN)) or (1, 0)
        covered += low <= 0.6382 <= high
    assert covered >= 50


@given(st.lists(st.sampled_from("abcdefghijklmnop"), min_size=20, max_size=80), st.integers(2, 5), st.integers(0, 9))
@settings(max_examples=50, deadline=None)
def test_folds_never_split_a_query(queries: list[str], folds: int, seed: int) -> None:
    series = pd.Series(queries)
    fold = query_folds(series, folds, seed)
    assert set(fold) <= set(range(folds))
    assert pd.Series(fold).groupby(series).nunique().max() == 1
    np.testing.assert_array_equal(fold, query_folds(series, folds, seed))


def test_folds_are_about_equal_and_depend_on_the_seed() -> None:
    queries = pd.Series([f"query {i // 3}" for i in range(3000)])
    sizes = np.bincount(query_folds(queries, 5, 0))
    assert sizes.min() > 590
    assert (query_folds(queries, 5, 0) != query_folds(queries, 5, 1)).any()


def test_validation_queries_are_not_training_queries() -> None:
    queries = pd.Series([f"query {i // 4}" for i in range(400)])
    rows = np.flatnonzero(np.arange(400) % 8 < 6)
    train, valid = split_valid(queries, rows, RelevanceConfig(valid_fraction=0.2), seed=1)
    assert sorted([*train, *valid]) == rows.tolist()
    assert not set(queries[train]) & set(queries[valid])
    assert 0.1 < len(valid) / len(rows) < 0.3


def test_platt_calibrates_and_keeps_the_order() -> None:
    random = np.random.default_rng(0)
    logit = random.normal(0, 1.5, 4000)
    label = (random.random(4000) < 1 / (1 + np.exp(-logit))).astype(float)
    distorted = 3 * logit + 2
    slope, intercept = fit_platt(distorted, label)
    assert (slope, intercept) == (pytest.approx(1 / 3, abs=0.03), pytest.approx(-2 / 3, abs=0.1))
    assert calibration_error(label, calibrate(distorted, (slope, intercept))) < 0.02
    assert calibration_error(label, calibrate(distorted, (1.0, 0.0))) > 0.1
    assert fit_platt(-distorted, label) == (1.0, 0.0)


def test_thresholds_fall_back_where_a_market_is_too_small() -> None:
    relevance = np.r_[np.linspace(0, 1, 200), np.linspace(0, 1, 10)]
    label = np.r_[np.linspace(0, 1, 200) > 0.7, np.linspace(0, 1, 10) > 0.2].astype(float)
    market = np.array(["A"] * 200 + ["B"] * 10)
    theta = thresholds(market, label, relevance, ["A", "B"])
    assert theta["A"] == pytest.approx(0.70, abs=0.01)
    overall = thresholds(np.array(["A"] * 210), label, relevance, ["A"])["A"]
    assert theta["B"] == overall


def test_routing_shares() -> None:
    experts = np.array([[0, 1], [0, 2], [1, 2]])
    shares = routing_shares(experts, np.array(["A", "A", "B"]), ("A", "B", "C"), 3)
    np.testing.assert_allclose(shares, [[1, 0.5, 0.5], [0, 1, 1], [0, 0, 0]])
