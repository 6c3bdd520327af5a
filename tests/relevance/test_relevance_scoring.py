import numpy as np

from components.relevance.scoring import RelevanceScorer
from tests.relevance.relevance_world import Trained


def test_scorer_equals_stored_scores(trained: Trained) -> None:
    import pandas as pd

    scores = pd.read_parquet(trained.scores / "scores.parquet")
    pairs = pd.read_parquet(trained.encodings / "pairs.parquet")
    scorer = RelevanceScorer.load(trained.model, trained.experts)
    relevance, experts = scorer.score(list(pairs["market"]), list(pairs["query"]), list(pairs["title"]))
    np.testing.assert_allclose(relevance, scores["relevance"], atol=1e-5)
    np.testing.assert_array_equal(experts, np.stack(scores["experts"].to_list()))
