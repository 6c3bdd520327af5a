"""AUC against scikit-learn, and the bootstrap over groups of rows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from components.contracts.tools.resampling import Bootstrap, auc, percentile_interval

ROWS = st.lists(st.tuples(st.booleans(), st.integers(-3, 3), st.integers(0, 4)), min_size=1, max_size=40)


@given(ROWS)
@settings(max_examples=150, deadline=None)
def test_auc_equals_scikit_learns_with_ties_and_weights(rows: list[tuple[bool, int, int]]) -> None:
    label, score, times = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    for weight, found in (
        (np.ones(len(label)), auc(label, score)),
        (times, Bootstrap(np.arange(len(label)), times[None]).aucs(label, score)[0]),
    ):
        if (weight * label).any() and (weight * (1 - label)).any():
            assert found == pytest.approx(roc_auc_score(label, score, sample_weight=weight), rel=1e-12)
        else:
            assert found is None or np.isnan(found)


def test_auc_of_nothing_is_unknown() -> None:
    assert auc(np.array([]), np.array([])) is None


def test_replicates_draw_whole_groups_and_repeat() -> None:
    group = np.array([0, 1, 0, 2, 1, 0])
    bootstrap = Bootstrap.draw(group, 100, seed=3)
    assert (bootstrap.times_RG.sum(axis=1) == 3).all()
    np.testing.assert_array_equal(bootstrap.times_RG, Bootstrap.draw(group, 100, seed=3).times_RG)
    assert (bootstrap.times_RG != Bootstrap.draw(group, 100, seed=4).times_RG).any()


def test_a_replicate_is_the_auc_of_the_rows_drawn() -> None:
    random = np.random.default_rng(0)
    group = random.integers(0, 30, 200)
    group = np.unique(group, return_inverse=True)[1]
    label, score = random.integers(0, 2, 200), random.integers(0, 9, 200) / 9
    bootstrap = Bootstrap.draw(group, 150, seed=1)
    for part in (np.arange(200), np.flatnonzero(random.random(200) < 0.5)):
        found = bootstrap.at(part).aucs(label[part], score[part])
        for replicate, times in zip(found, bootstrap.times_RG.astype(int), strict=True):
            rows = np.repeat(part, times[group[part]])
            assert replicate == pytest.approx(roc_auc_score(label[rows], score[rows]))


def test_interval_covers_the_true_auc_about_as_often_as_it_says() -> None:
    covered = 0
    for seed in range(60):
        random = np.random.default_rng(seed)
        label = random.integers(0, 2, 400)
        score = label + random.normal(0, 2, 400)  # true AUC: Phi(1 / (2 sqrt 2)) = .638
        values = Bootstrap.draw(np.arange(400) // 2, 200, seed).aucs(label, score)
        low, high = percentile_interval(values) or (1, 0)
        covered += low <= 0.6382 <= high
    assert covered >= 50


def test_interval_leaves_out_what_is_unknown() -> None:
    assert percentile_interval(np.array([np.nan, np.nan])) is None
    assert percentile_interval(np.r_[np.nan, np.arange(101.0)], level=0.9) == [pytest.approx(5), pytest.approx(95)]
