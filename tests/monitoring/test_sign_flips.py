"""P-values by sign flips: right where rows move together and where windows differ in size, and with power."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chisquare, kstest, mannwhitneyu

from components.monitoring.sign_flips import (
    Statistic,
    bin_contributions,
    distance_statistic,
    flips,
    group_rows,
    joint_p_value,
    mean_statistics,
    mix_statistics,
    signed_weights,
    value_contributions,
)

FLIPS = flips(2000, 0)


def _mean_p(values: np.ndarray, is_current: np.ndarray, entities: np.ndarray | None = None) -> float:
    groups, _ = group_rows(None if entities is None else pd.Series(entities), len(values), 0)
    return mean_statistics(value_contributions(values[:, None], signed_weights(is_current), groups), FLIPS)[0].p_value


@pytest.mark.parametrize(
    ("old", "new"), [(500, 500), (1800, 200), (200, 1800)], ids=["equal", "more before", "more now"]
)
def test_p_values_are_uniform_without_a_move_whatever_the_windows_sizes(old: int, new: int) -> None:
    is_current = np.arange(old + new) >= old
    found = [_mean_p(np.random.default_rng(world).lognormal(size=old + new), is_current) for world in range(300)]
    assert kstest(found, "uniform").pvalue > 0.001


def test_rows_of_one_entity_are_one_fact() -> None:
    # 80 entities of 50 rows with one value each: taken for 4,000 facts, they would nearly always "move".
    false, naive = 0, 0
    for world in range(100):
        rng = np.random.default_rng(world)
        entities = np.repeat(np.arange(80), 50)
        values, is_current = np.repeat(rng.normal(size=80), 50), np.repeat(rng.permutation(80) < 40, 50)
        false += _mean_p(values, is_current, entities) <= 0.05
        naive += _mean_p(values, is_current) <= 0.05
    assert false <= 14  # 5 expected; 15 or more have a chance below 0.1 %
    assert naive > 60


def test_what_an_entity_does_in_both_windows_cancels() -> None:
    rng = np.random.default_rng(0)
    taste, entities = rng.normal(0, 5, 300), np.tile(np.arange(300), 2)
    is_current = np.repeat([False, True], 300)
    values = taste[entities] + rng.normal(0, 1, 600) + 0.4 * is_current
    assert _mean_p(values, is_current, entities) < 0.005
    assert _mean_p(values, is_current) > 0.05


def test_they_agree_with_the_tests_for_independent_rows() -> None:
    rng = np.random.default_rng(3)
    values, is_current = np.r_[rng.normal(size=700), rng.normal(0.1, 1, size=900)], np.arange(1600) >= 700
    ranks = values.argsort().argsort().astype(float)
    theirs = mannwhitneyu(values[is_current], values[~is_current]).pvalue
    assert _mean_p(ranks, is_current) == pytest.approx(theirs, abs=0.02)


def _mix(old: list[int], new: list[int]) -> tuple[tuple[float, float], np.ndarray]:
    codes = np.r_[np.repeat(np.arange(len(old)), old), np.repeat(np.arange(len(new)), new)]
    is_current = np.arange(len(codes)) >= sum(old)
    groups, _ = group_rows(None, len(codes), 0)
    contributions = bin_contributions(codes, len(old), signed_weights(is_current), groups)
    mix, category = mix_statistics(contributions, np.bincount(codes) / len(codes), FLIPS)
    return (mix.p_value, category.p_value), contributions


def test_a_mix_is_tested_as_by_chi_square() -> None:
    old, new = [300, 300, 200, 200], [330, 300, 180, 190]
    (mix, _), contributions = _mix(old, new)
    table = np.array([old, new])
    expected = table.sum(1, keepdims=True) * table.sum(0) / table.sum()
    theirs = chisquare(table.ravel(), expected.ravel(), ddof=4).pvalue
    assert mix == pytest.approx(theirs, abs=0.04)
    assert contributions.sum(0) == pytest.approx(table[1] / 1000 - table[0] / 1000)


def test_one_category_among_many_is_found_by_its_own_noise() -> None:
    quiet = [50] * 19
    (mix, category), _ = _mix([*quiet, 50], [*quiet, 92])
    assert category < 0.05 and category < mix


def test_rare_values_that_were_replaced_are_found_and_redrawn_ones_are_not() -> None:
    rng = np.random.default_rng(0)
    old, redrawn = rng.integers(0, 300, 1000), rng.integers(0, 300, 1000)
    is_current, (groups, _) = np.arange(2000) >= 1000, group_rows(None, 2000, 0)
    found = []
    for new in (redrawn, redrawn + 300):
        codes = pd.factorize(np.r_[old, new])[0]
        contributions = bin_contributions(codes, codes.max() + 1, signed_weights(is_current), groups)
        found.append(distance_statistic(contributions, FLIPS).p_value)
    assert found[0] > 0.05 and found[1] < 0.001


def test_a_p_value_counts_the_observation_and_is_never_nought() -> None:
    assert Statistic(5.0, np.zeros(99)).p_value == joint_p_value([Statistic(5.0, np.zeros(99))]) == 0.01
    assert Statistic(0.0, np.zeros(99)).p_value == joint_p_value([Statistic(0.0, np.zeros(99))]) == 1.0


def test_one_p_value_of_several_tests_costs_what_they_tell_apart() -> None:
    draws = np.random.default_rng(0).normal(size=(3, 9999))
    same = joint_p_value([Statistic(3.0, draws[0])] * 3)
    assert same == Statistic(3.0, draws[0]).p_value
    apart = joint_p_value([Statistic(3.0, draws[0]), Statistic(0.0, draws[1]), Statistic(0.0, draws[2])])
    assert 2 * same < apart < 4 * same


def test_one_p_value_of_several_tests_is_uniform_without_a_move() -> None:
    found = []
    for world in range(300):
        rng = np.random.default_rng(world)
        shared, own = rng.normal(size=1000), rng.normal(size=(3, 1000))
        found.append(joint_p_value([Statistic(both[0], both[1:]) for both in shared + own]))
    assert kstest(found, "uniform").pvalue > 0.001
