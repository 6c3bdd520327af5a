"""The lexical expert's share: a quarter until the pairs say otherwise, and then what they say."""

import numpy as np
import pytest

from components.relevance.fitting.blend import EXPERTS_ONLY, blend_out_of_fold, fit_blend


def drawn(pairs: int, experts: float, lexical: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits that hold so much of the labels, and noise of deviation 1; the experts' ten times as large."""
    random = np.random.default_rng(seed)
    label = (np.arange(pairs) % 3 > 0).astype(np.float64)
    signal = label - label.mean()
    noise = random.normal(size=(2, pairs))
    return 10 * (experts * signal + noise[0]) - 3, lexical * signal + noise[1], label


def test_few_pairs_change_little() -> None:
    for seed in range(8):
        assert 0.05 <= fit_blend(*drawn(40, 0.5, 0.5, seed)).share <= 0.5


@pytest.mark.parametrize(("experts", "lexical", "low", "high"), [(1, 0, 0, 0.1), (0, 1, 0.9, 1), (1, 1, 0.4, 0.6)])
def test_many_pairs_decide(experts: float, lexical: float, low: float, high: float) -> None:
    blend = fit_blend(*drawn(6_000, experts, lexical))
    assert low <= blend.share <= high


def test_a_few_hundred_pairs_that_speak_clearly_are_heard() -> None:
    assert fit_blend(*drawn(600, 0.1, 1.2)).share > 0.6
    assert fit_blend(*drawn(600, 1.2, 0.0)).share < 0.2


def test_the_scale_of_a_logit_does_not_matter() -> None:
    experts, lexical, label = drawn(500, 0.7, 0.7)
    one, other = fit_blend(experts, lexical, label), fit_blend(experts / 50, 9 * lexical, label)
    assert one.share == other.share
    np.testing.assert_allclose(one.logits(experts, lexical), other.logits(experts / 50, 9 * lexical))


def test_a_fold_has_the_weights_that_the_other_folds_want() -> None:
    experts, lexical, label = drawn(600, 0.2, 0.9)
    fold = np.arange(600) % 3
    blended = blend_out_of_fold(experts, lexical, label, fold)
    changed = blend_out_of_fold(experts, lexical, np.where(fold == 1, experts > 0, label), fold)
    np.testing.assert_array_equal(blended[fold == 1], changed[fold == 1])
    assert not np.allclose(blended[fold == 0], changed[fold == 0])
    blend = fit_blend(*(values[fold != 2] for values in (experts, lexical, label)))
    np.testing.assert_array_equal(blended[fold == 2], blend.logits(experts, lexical)[fold == 2])


def test_what_cannot_be_judged_keeps_the_first_share() -> None:
    experts, lexical, label = drawn(30, 0.5, 0.5)
    assert fit_blend(experts, lexical, np.ones(30)).share == 0.25
    assert fit_blend(experts, np.zeros(30), label) == EXPERTS_ONLY
    assert fit_blend(np.zeros(30), lexical, label).logits(np.zeros(30), lexical).std() > 0
    useless = drawn(300, -0.5, -0.5)
    assert fit_blend(*useless).share == 0.25, "nothing points the right way: no share is more likely than another"
