"""How often a check refuses by chance, how often where it should, and that what it asks for would decide."""

import re

import numpy as np
import pytest

from components.contracts.tools.cells import Estimate
from components.release.checks import Figure, more_needed, not_below

RUNS, MARKETS, BASELINES = 2000, 6, 2
ERROR, TOLERANCE = 0.02, 0.02


def refusing_runs(margin: float, widened: bool) -> float:
    """Share of runs in which any market refuses: gains over the better of two equal baselines, `margin` within the
    tolerance, with normal errors."""
    gains = np.random.default_rng(0).normal(margin - TOLERANCE, ERROR, (RUNS, MARKETS, BASELINES)).min(axis=2)

    def refuses(gain: float) -> bool:
        figure = Figure(Estimate(gain, gain - 1.96 * ERROR, gain + 1.96 * ERROR), 400, "judgments")
        figure = figure.one_of(MARKETS * BASELINES) if widened else figure
        return not not_below("auc", "TH", 0.8, figure, "tfidf", TOLERANCE, "relevance_tolerance").passed

    return float(np.mean([any(refuses(gain) for gain in run) for run in gains.tolist()]))


def test_of_many_markets_none_is_refused_by_chance_and_a_bad_one_is() -> None:
    assert refusing_runs(0.0, widened=False) > 0.2, "which is why intervals are widened"
    assert refusing_runs(0.0, widened=True) < 0.05
    assert refusing_runs(-0.1, widened=True) > 0.99


@pytest.mark.parametrize(("value", "half", "count"), [(-0.035, 0.065, 367), (-0.01, 0.03, 144), (-0.02, 0.021, 90_000)])
def test_as_many_more_as_are_asked_for_would_decide(value: float, half: float, count: int) -> None:
    said = more_needed(Figure(Estimate(value, value - half, value + half), count, "judgments"))
    found = re.fullmatch(r"about ([\d,]+) more judgments would decide it", said)
    assert found
    more = int(found[1].replace(",", ""))

    def half_width(total: float) -> float:
        return half * (count / total) ** 0.5

    assert half_width(count + more) <= -value < half_width(count + 0.85 * more)


def test_an_interval_that_could_not_be_computed_stays_unknown() -> None:
    unknown = Figure(Estimate(0.5, None, None), 10, "requests")
    assert unknown.one_of(6) == unknown
    assert unknown.above(0.6).estimate == Estimate(0.5 - 0.6, None, None)
