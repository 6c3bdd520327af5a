"""PSI is Evidently's, and the noise floor knows that an entity's rows move together."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from components.monitoring.noise import bins, entity_counts, noise_floor, psi, swapped_auc, swaps


def _counts(reference: np.ndarray, current: np.ndarray, entities: np.ndarray, num_entities: int):
    codes = bins(reference, current)
    split = len(reference)
    return tuple(
        entity_counts(codes[part], entities[part], num_entities, codes.max() + 1)
        for part in (slice(split), slice(split, None))
    )


@pytest.mark.parametrize(
    ("reference", "current"),
    [
        (lambda r: r.normal(size=900), lambda r: r.normal(0.4, 1.3, size=700)),
        (lambda r: r.poisson(0.3, 500).astype(float), lambda r: r.poisson(0.5, 800).astype(float)),
        (lambda r: r.lognormal(2, 2, 800), lambda r: r.lognormal(2.5, 2, 300)),
        (lambda r: np.zeros(50), lambda r: np.r_[np.zeros(40), np.ones(10)]),
    ],
    ids=["normal", "few values", "long tail with empty bins", "a value of one window only"],
)
def test_psi_equals_evidently(reference, current) -> None:
    from evidently.legacy.calculations.stattests.psi import _psi
    from evidently.legacy.core import ColumnType

    rng = np.random.default_rng(0)
    old, new = reference(rng), current(rng)
    theirs, _ = _psi(pd.Series(old), pd.Series(new), ColumnType.Numerical, 0.2)
    old_KB, new_KB = _counts(old, new, np.zeros(len(old) + len(new), dtype=int), 1)
    assert psi(old_KB.sum(0), new_KB.sum(0))[0] == pytest.approx(theirs, rel=1e-12)


def test_noise_floor_is_small_for_independent_rows_and_large_for_rows_of_few_entities() -> None:
    rng = np.random.default_rng(0)
    independent = rng.normal(size=4000)
    own = np.arange(4000)
    floor_of_rows = noise_floor(*_counts(independent[:2000], independent[2000:], own, 4000), swaps(4000, 300, 0), 0.99)

    # 40 entities a window, 50 rows of one value each: 40 facts, not 2000.
    shared = np.repeat(rng.normal(size=80), 50)
    entity = np.repeat(np.arange(80), 50)
    floor_of_entities = noise_floor(*_counts(shared[:2000], shared[2000:], entity, 80), swaps(80, 300, 0), 0.99)
    assert floor_of_rows < 0.05
    assert floor_of_entities > 0.2


def test_false_alarms_stay_near_the_quantile() -> None:
    alarms = 0
    for world in range(60):
        rng = np.random.default_rng(world)
        values, entity = np.repeat(rng.normal(size=80), 50), np.repeat(np.arange(80), 50)
        old_KB, new_KB = _counts(values[:2000], values[2000:], entity, 80)
        alarms += psi(old_KB.sum(0), new_KB.sum(0))[0] > noise_floor(old_KB, new_KB, swaps(80, 300, 0), 0.95)
    assert alarms <= 9  # 3 expected; 10 or more have a chance of 0.1 %


def test_draws_that_empty_a_window_are_left_out() -> None:
    old_KB, new_KB = np.array([[3.0, 1], [0, 0]]), np.array([[0.0, 0], [2, 2]])
    unchanged, empties_the_reference = [0.0, 0], [1.0, 0]
    floor = noise_floor(old_KB, new_KB, np.array([unchanged, empties_the_reference]), 0.99)
    assert floor == psi(old_KB.sum(0), new_KB.sum(0))[0]


def test_swapping_everyone_mirrors_the_auc() -> None:
    rng = np.random.default_rng(0)
    scores, label, entity = rng.normal(size=200).round(1), rng.random(200) < 0.5, rng.integers(0, 7, 200)
    nobody, everybody = swapped_auc(scores, label, entity, np.array([[0.0] * 7, [1.0] * 7]))
    assert nobody == pytest.approx(roc_auc_score(label, scores))
    assert everybody == pytest.approx(1 - nobody)
