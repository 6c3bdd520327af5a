"""What a run's figures may be taken to say follows from their intervals."""

import pytest

from components.release.conclusions import conclusions, listed
from tests.pipelines.run_summary import METRICS, delta, summary

OPEN = "does not show which is better"


def relevance(**deltas: dict) -> str:
    return conclusions(summary(deltas=deltas))[0]


def ranking(low: float, high: float, metric: str = "auc") -> str:
    content = summary()
    content["ranking"]["hhsft_es3"]["difference"] = {key: [(low + high) / 2, low, high] for key in METRICS}
    return next(said for said in conclusions(content) if said.startswith(f"Ranking, {metric.upper()}"))


def test_the_sentence_flips_when_an_interval_leaves_zero() -> None:
    assert relevance(tfidf=delta(0.01, 0.02)) == "Relevance, pooled AUC: the mixture is better than tfidf."
    assert relevance(tfidf=delta(-0.02, -0.01)) == "Relevance, pooled AUC: the mixture is worse than tfidf."
    undecided = relevance(tfidf=delta(-0.01, 0.02))
    assert "for tfidf the interval holds 0" in undecided and OPEN in undecided and "better than" not in undecided


@pytest.mark.parametrize("metric", ["auc", "gauc"])
def test_a_ranker_is_compared_with_the_baseline(metric: str) -> None:
    assert "hhsft_es3 is better than dlrm_exposed" in ranking(0.001, 0.01, metric)
    assert "hhsft_es3 is worse than dlrm_exposed" in ranking(-0.01, -0.001, metric)
    undecided = ranking(-0.001, 0.01, metric)
    assert "for hhsft_es3 the interval holds 0" in undecided and OPEN in undecided
    assert "better than dlrm_exposed" not in undecided


def test_each_variant_stands_on_its_own_side() -> None:
    said = relevance(a=delta(0.1, 0.2), b=delta(0.1, 0.2), c=delta(-0.1, 0.1), d=delta(-0.2, -0.1))
    better, worse, undecided = said.split("; ")
    assert "a and b" in better and "d" in worse and "for c" in undecided


def test_a_difference_without_an_interval_decides_nothing() -> None:
    content = summary()
    content["ranking"]["hhsft_es3"]["difference"] = {key: [0.01, None, None] for key in METRICS}
    assert OPEN in conclusions(content)[1]


@pytest.mark.parametrize(
    ("changes", "reach"),
    [
        ({"simulated": True}, "nothing about real traffic"),
        ({}, "in another order is not shown"),
        ({"ranking": None, "baseline": None}, "click and buy is not looked at"),
    ],
)
def test_what_the_data_cannot_say_is_said(changes: dict, reach: str) -> None:
    said = conclusions(summary(**changes))
    assert reach in said[-1]
    assert any("second fit may give other figures" in sentence for sentence in said)


def test_names_are_listed_as_a_sentence_does() -> None:
    assert [listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])] == ["a", "a and b", "a, b and c"]
