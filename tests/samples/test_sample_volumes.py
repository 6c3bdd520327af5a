"""The volume report's figures."""

import numpy as np
import pytest

from components.samples.volumes import auc


@pytest.mark.parametrize("seed", range(5))
def test_auc_is_the_share_of_ordered_pairs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    score = rng.integers(0, 6, size=60).astype(float)  # many ties
    positive = rng.random(60) < 0.3
    above, below = score[positive][:, None], score[~positive][None, :]
    expected = ((above > below) + 0.5 * (above == below)).mean()
    assert auc(score, positive) == pytest.approx(expected, abs=5e-5)


def test_auc_of_one_class_is_unknown() -> None:
    assert auc(np.array([0.1, 0.2]), np.array([True, True])) is None
    assert auc(np.array([]), np.array([], dtype=bool)) is None
