"""Anisotropy, likeness of spaces, routing balance and NDCG."""

import numpy as np
import pandas as pd
import pytest

from components.contracts.tools.cells import Estimate
from components.relevance.evaluation.figures import folds_balance, mean_ndcg, routing_balance
from components.relevance.evaluation.report import delta_table
from components.relevance.metrics.anisotropy import anisotropy, linear_cka, procrustes_error, sample_rows

RANDOM = np.random.default_rng(0)
ROUND = RANDOM.normal(size=(2000, 16))
ROTATION = np.linalg.qr(RANDOM.normal(size=(16, 16)))[0]


def test_a_round_cloud_is_isotropic_and_a_line_is_not() -> None:
    even = anisotropy(ROUND)
    assert abs(even.mean_cosine) < 0.01 and even.isoscore > 0.95 and even.effective_rank > 15.8
    line = anisotropy(np.outer(RANDOM.normal(size=500), np.arange(1, 17)))
    assert line.top_share == pytest.approx(1) and line.effective_rank == pytest.approx(1)
    assert line.isoscore == pytest.approx(0, abs=1e-6)


def test_an_offset_raises_the_cosine_and_nothing_else() -> None:
    plain, moved = anisotropy(ROUND), anisotropy(ROUND + 20)
    assert moved.mean_cosine > 0.99
    for name in ("top_share", "effective_rank", "isoscore"):
        assert getattr(moved, name) == pytest.approx(getattr(plain, name))


def test_mean_cosine_is_that_of_all_pairs() -> None:
    some = ROUND[:30] + 1
    unit = some / np.linalg.norm(some, axis=1, keepdims=True)
    every = (unit @ unit.T)[~np.eye(30, dtype=bool)]
    assert anisotropy(some).mean_cosine == pytest.approx(every.mean())


def test_a_rotated_and_scaled_space_is_the_same_space() -> None:
    turned = 3 * ROUND @ ROTATION + 5
    assert linear_cka(ROUND, turned) == pytest.approx(1)
    assert procrustes_error(ROUND, turned) == pytest.approx(0, abs=1e-9)
    wider = np.hstack([turned, np.zeros((2000, 4))])
    assert procrustes_error(ROUND, wider) == pytest.approx(0, abs=1e-9)


def test_unrelated_spaces_are_unlike() -> None:
    other = np.random.default_rng(1).normal(size=(2000, 16))
    assert linear_cka(ROUND, other) < 0.05
    assert procrustes_error(ROUND, other) > 0.9


def test_rows_are_sampled_once_and_bounded() -> None:
    assert sample_rows(5, 0).tolist() == [0, 1, 2, 3, 4]
    rows = sample_rows(10_000, 0)
    assert len(set(rows)) == 2000
    np.testing.assert_array_equal(rows, sample_rows(10_000, 0))


def test_balance_tells_even_routing_from_a_collapsed_router() -> None:
    even = np.eye(3)[np.arange(300) % 3]
    assert routing_balance(even) == {"entropy": pytest.approx(1), "collapsed": False}
    assert routing_balance(np.eye(3)[np.zeros(300, dtype=int)]) == {"entropy": pytest.approx(0), "collapsed": True}
    lopsided = np.eye(3)[np.where(np.arange(300) < 3, 1, np.arange(300) % 2 * 2)]
    assert routing_balance(lopsided)["collapsed"], "one expert is asked by one query in a hundred"


def test_routers_that_collapse_in_different_ways_do_not_look_even_together() -> None:
    fold = np.arange(300) % 3
    each_its_own = np.eye(3)[fold][None]
    assert routing_balance(each_its_own[0])["entropy"] == pytest.approx(1)
    assert folds_balance(each_its_own, fold) == {"entropy": pytest.approx(0), "collapsed": True}
    even = np.eye(3)[np.arange(300) // 100][None]
    assert folds_balance(even, fold)["collapsed"] is False


def test_ndcg_is_over_queries_that_have_something_to_order() -> None:
    frame = pd.DataFrame({"market": ["A"] * 5, "query": ["x", "x", "x", "y", "z"], "grade": [1.0, 0.0, 0.5, 1.0, 0.0]})
    assert mean_ndcg(frame, np.array([3.0, 1.0, 2.0, 0.0, 0.0])) == pytest.approx(1)
    worst = (0 + 0.5 / np.log2(3) + 1 / 2) / (1 + 0.5 / np.log2(3))
    assert mean_ndcg(frame, np.array([1.0, 3.0, 2.0, 0.0, 0.0])) == pytest.approx(worst)
    assert mean_ndcg(frame.iloc[3:], np.zeros(2)) is None


def test_gains_stand_in_points_by_market_and_a_market_of_one_class_has_none() -> None:
    def gain(value: float) -> dict[str, object]:
        return {"mixture_minus": value, "interval": [value - 0.01, value + 0.01]}

    deltas = {name: {"TH": gain(0.03), "macro": gain(0.03), "pooled": gain(0.02)} for name in ("tfidf", "e5")}
    table = delta_table({"deltas": deltas}, ("MY", "TH"))
    assert table.frame.columns.tolist() == ["mixture minus", "MY", "TH", "macro", "pooled"]
    assert table.units == dict.fromkeys(("MY", "TH", "macro", "pooled"), "points")
    assert table.frame["TH"].tolist() == [Estimate(0.03, 0.03 - 0.01, 0.03 + 0.01)] * 2
    assert table.frame["MY"].isna().all()
