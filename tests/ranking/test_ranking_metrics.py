"""Ranking metrics against scikit-learn, hand values and their definitions."""

import numpy as np
import pytest
from sklearn.metrics import ndcg_score, roc_auc_score, roc_curve

from components.ranking.config import RANKING_METRICS
from components.ranking.evaluation import (
    compact,
    expected_auc,
    places,
    request_agreement,
    request_auc,
    request_hit_rate,
    request_ndcg,
    roc_points,
)
from components.ranking.intervals import RankingBootstrap, ratio_interval, with_intervals


def ragged(seed: int, requests: int = 60, levels: int = 7) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Requests of 1..12 rows in shuffled order, labels, and scores with many ties."""
    rng = np.random.default_rng(seed)
    request = rng.permutation(np.repeat(np.arange(requests), rng.integers(1, 13, requests)))
    return request, rng.integers(0, 2, len(request)).astype(float), rng.integers(0, levels, len(request)) / levels


@pytest.mark.parametrize("seed", range(3))
def test_gauc_is_the_exposure_weighted_mean_over_requests_with_both_classes(seed: int) -> None:
    request, label, score = ragged(seed)
    found, values, weights = request_auc(request, label, score), [], []
    for r in range(request.max() + 1):
        own = request == r
        if 0 < label[own].sum() < own.sum():
            values.append(roc_auc_score(label[own], score[own]))
            weights.append(own.sum())
            assert found.value[r] == pytest.approx(values[-1])
        else:
            assert np.isnan(found.value[r])
    assert 0 < len(values) < request.max() + 1
    assert float(found.mean()) == pytest.approx(np.average(values, weights=weights))


def test_gauc_skips_single_class_requests_by_hand() -> None:
    request = np.array([0, 0, 0, 1, 1, 2, 2, 2, 2])
    label = np.array([1, 0, 0, 1, 1, 0, 1, 0, 0], dtype=float)
    score = np.array([0.9, 0.5, 0.1, 0.3, 0.2, 0.9, 0.5, 0.5, 0.1])
    # request 0: 1.0 (weight 3); request 1: one class; request 2: (0 + 0.5 + 1) / 3 (weight 4)
    assert float(request_auc(request, label, score).mean()) == pytest.approx((3 * 1.0 + 4 * 0.5) / 7)
    assert np.isnan(request_auc(request, np.ones(9), score).mean())


def test_hit_rate_and_ndcg_by_hand() -> None:
    request = np.array([0, 0, 0, 1, 1, 2])
    label = np.array([0, 0, 1, 1, 0, 0], dtype=float)
    score = np.array([0.9, 0.5, 0.4, 0.3, 0.1, 0.7])
    np.testing.assert_allclose(request_hit_rate(request, label, score, 1).value, [0, 1, np.nan])
    np.testing.assert_allclose(request_hit_rate(request, label, score, 3).value, [1, 1, np.nan])
    np.testing.assert_allclose(request_ndcg(request, label, score, 10).value, [1 / np.log2(4), 1, np.nan])
    np.testing.assert_allclose(request_ndcg(request, label, score, 2).value, [0, 1, np.nan])


@pytest.mark.parametrize("seed", range(3))
def test_ndcg_equals_scikit_learn_on_graded_gains(seed: int) -> None:
    rng = np.random.default_rng(seed)
    request = np.repeat(np.arange(20), 15)
    gain, score = rng.random(300), rng.permutation(300).astype(float)
    for k in (3, 10, 15):
        expected = [ndcg_score(gain[request == r][None], score[request == r][None], k=k) for r in range(20)]
        np.testing.assert_allclose(request_ndcg(request, gain, score, k).value, expected)


@pytest.mark.parametrize("seed", range(3))
def test_agreement_counts_pairs(seed: int) -> None:
    request, _, score = ragged(seed, levels=4)
    target = np.random.default_rng(seed + 9).integers(0, 3, len(request)).astype(float)
    found = request_agreement(request, target, score)
    for r in range(request.max() + 1):
        t, s = target[request == r], score[request == r]
        pairs = [(i, j) for i in range(len(t)) for j in range(len(t)) if t[i] > t[j]]
        if pairs:
            expected = np.mean([0.5 * (1 + np.sign(s[i] - s[j])) for i, j in pairs])
            assert found.value[r] == pytest.approx(expected)
        else:
            assert np.isnan(found.value[r])
    both = (target > 0).astype(float)
    np.testing.assert_allclose(request_agreement(request, both, score).value, request_auc(request, both, score).value)


def test_ties_are_not_broken_by_the_logs_order() -> None:
    request = np.repeat(np.arange(400), 10)
    first = np.tile(np.arange(10) == 0, 400).astype(float)
    hit = float(request_hit_rate(request, first, np.zeros(4000), 5).mean())
    assert 0.4 < hit < 0.6
    assert np.array_equal(np.sort(places(request, np.zeros(4000)).reshape(400, 10)), np.tile(np.arange(10), (400, 1)))


def test_roc_points_lie_on_scikit_learns_curve() -> None:
    _, label, score = ragged(0, levels=1000)
    false_rate, true_rate, thresholds = roc_points(label, score, 50)
    whole = roc_curve(label, score, drop_intermediate=False)
    curve = set(zip(np.round(whole[0], 9), np.round(whole[1], 9), strict=True))
    assert set(zip(np.round(false_rate, 9), np.round(true_rate, 9), strict=True)) <= curve
    assert len(false_rate) == 50
    assert (false_rate[0], true_rate[0], false_rate[-1], true_rate[-1]) == (0, 0, 1, 1)
    assert np.all(np.diff(thresholds) < 0)
    assert np.isfinite(thresholds).all()


def test_the_bootstrap_holds_the_value_and_pairs_its_draws() -> None:
    request, label, score = ragged(0, requests=300)
    better = score + 0.4 * label
    bootstrap = RankingBootstrap(request, label, replicates=200, seed=1)
    results = with_intervals(
        {"base": bootstrap.evaluate(score), "same": bootstrap.evaluate(score), "better": bootstrap.evaluate(better)},
        baseline="base",
    )
    assert results["base"]["auc"] == pytest.approx(roc_auc_score(label, score), abs=1e-6)
    for metric in RANKING_METRICS:
        low, high = results["base"]["interval"][metric]
        assert low < results["base"][metric] < high
        assert results["same"]["difference"][metric] == [0, 0, 0]
    value, low, high = results["better"]["difference"]["auc"]
    assert 0 < low < value < high
    spread = np.subtract(*results["better"]["interval"]["auc"][::-1]) + np.subtract(
        *results["base"]["interval"]["auc"][::-1]
    )
    assert high - low < spread  # paired: narrower than independent intervals


def test_bootstrap_replicates_equal_evaluating_the_drawn_requests() -> None:
    request, label, score = ragged(4, requests=30)
    bootstrap = RankingBootstrap(request, label, replicates=5, seed=2)
    replicated = bootstrap.evaluate(score).replicates
    for w, times in enumerate(bootstrap.bootstrap.times_RG.astype(int)):
        drawn = [np.flatnonzero(request == r) for r in np.repeat(np.arange(30), times)]
        rows, copies = np.concatenate(drawn), np.repeat(np.arange(len(drawn)), [len(d) for d in drawn])
        assert replicated["auc"][w] == pytest.approx(roc_auc_score(label[rows], score[rows]))
        assert replicated["gauc"][w] == pytest.approx(float(request_auc(copies, label[rows], score[rows]).mean()))


def test_compact_numbers_requests_from_zero() -> None:
    assert np.array_equal(compact(np.array([7, 3, 7, 9])), [1, 0, 1, 2])


def test_expected_auc_counts_each_pair_by_its_chance() -> None:
    rng = np.random.default_rng(3)
    chance, score = rng.random(40), rng.integers(6, size=40).astype(np.float32)
    pairs = chance[:, None] * (1 - chance[None, :])
    np.fill_diagonal(pairs, 0)
    wins = 0.5 + 0.5 * np.sign(score[:, None] - score[None, :])
    assert expected_auc(chance, score) == pytest.approx((pairs * wins).sum() / pairs.sum())


def test_expected_auc_is_where_drawn_aucs_lie_and_chances_of_0_and_1_are_labels() -> None:
    rng = np.random.default_rng(4)
    logit = rng.normal(size=2000)
    chance, score = 1 / (1 + np.exp(-logit)), logit + rng.normal(size=2000)
    drawn = [roc_auc_score(rng.random(2000) < chance, score) for _ in range(50)]
    assert expected_auc(chance, score) == pytest.approx(np.mean(drawn), abs=3 * np.std(drawn) / np.sqrt(50))
    labels = (rng.random(2000) < chance).astype(np.float64)
    assert expected_auc(labels, score) == pytest.approx(roc_auc_score(labels, score))
    assert np.isnan(expected_auc(np.ones(5), np.arange(5.0)))


def test_a_ratios_interval_shrinks_with_the_root_of_the_requests_and_is_none_without_replicates() -> None:
    random = np.random.default_rng(0)

    def width(requests: int) -> float:
        request = np.repeat(np.arange(requests), 5)
        clicks = random.random(len(request)) < 0.2
        low, high = ratio_interval(request, np.full(len(request), 0.15), clicks, 400, 0) or (0.0, 0.0)
        assert low < 0.15 / clicks.mean() < high
        return high - low

    assert width(400) / width(1600) == pytest.approx(2, rel=0.25)
    assert ratio_interval(np.zeros(3, dtype=int), np.ones(3), np.ones(3), 0, 0) is None
