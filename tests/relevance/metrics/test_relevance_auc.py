"""AUC per market, calibration, thresholds and folds."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.contracts.tools.resampling import Bootstrap, percentile_interval
from components.relevance.config import RelevanceConfig
from components.relevance.evaluation.figures import routing_shares
from components.relevance.judgments.judged import query_folds, split_valid
from components.relevance.metrics.auc import market_aucs, replicated_aucs
from components.relevance.metrics.calibration import calibrate, calibration_error, fit_platt, thresholds


def test_a_market_of_one_class_has_no_auc_and_does_not_spoil_the_rest() -> None:
    market = np.array(["A"] * 6 + ["B"] * 4 + ["C"] * 0)
    label = np.array([1, 0, 1, 0, 1, 0, 1, 1, 1, 1])
    score = np.arange(10.0)
    found = market_aucs(market, label, score, ["A", "B", "C"])
    assert found["B"] is None and found["C"] is None
    assert found["macro"] == found["A"] == pytest.approx(1 / 3)
    replicates = replicated_aucs(market, label, score, ["A", "B", "C"], Bootstrap.draw(np.arange(10), 50, seed=0))
    assert percentile_interval(replicates["B"]) is None
    assert percentile_interval(replicates["macro"]) is not None


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


def test_few_judgments_that_are_told_apart_without_a_fault_do_not_make_all_good_titles_equal() -> None:
    logit, label = np.tile([-3.0, -2.5, 2.0, 2.5, 3.0, 9.0], 10), np.tile([0.0, 0, 1, 1, 1, 1], 10)
    relevance = calibrate(logit, fit_platt(logit, label)).astype(np.float32)
    assert len(set(relevance)) == 6
    assert relevance.mean() == pytest.approx((40 * 41 / 42 + 20 * 1 / 22) / 60, abs=1e-3)
    assert relevance[label == 0].max() < 0.1 < 0.9 < relevance[label == 1].min()


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
