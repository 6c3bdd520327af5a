"""The lexical expert: what scikit-learn fitted is what a server computes, from the file alone."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from components.contracts.text import normalise_query, normalise_title
from components.relevance.fitting.lexical import fit_lexical
from components.relevance.model.lexical import Lexical, ngrams
from tests.relevance.relevance_world import judgments, lexical_expert

TEXTS = ["sepatu lari", "รองเท้าวิ่ง", "giày chạy bộ", "a", "", "zzz unheard of 9", "sepatu sepatu SEPATU"]


def test_logits_are_those_of_the_regression_it_was_fitted_with() -> None:
    pairs, lexical = judgments(), lexical_expert()
    queries, titles = (pairs[name].map(make).tolist() for name, make in NORMAL.items())
    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), min_df=2, sublinear_tf=True)
    vectorizer.fit([*dict.fromkeys(queries[:200]), *dict.fromkeys(titles[:200])])
    assert vectorizer.get_feature_names_out().tolist() == lexical.ngrams_V.tolist()
    query, title = (vectorizer.transform(texts).toarray() for texts in (queries, titles))
    features = np.hstack([query, title, (query * title).sum(axis=1, keepdims=True)])
    label = pairs["grade"].to_numpy()
    every = [LogisticRegression(C=c, solver="liblinear").fit(features[:200], label[:200]) for c in (0.3, 1.0, 3.0)]
    found = lexical.logits(queries, titles)
    assert min(np.abs(found - model.decision_function(features)).max() for model in every) < 1e-4


NORMAL = {"query": normalise_query, "title": normalise_title}


@settings(deadline=None)
@given(st.text())
def test_ngrams_are_those_of_scikit_learn(text: str) -> None:
    normal = normalise_title(text)
    expected = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4)).build_analyzer()(normal)
    assert sorted(ngrams(normal)) == sorted(expected)


def test_a_file_gives_the_same_logits_without_pickle(tmp_path: Path) -> None:
    lexical = lexical_expert()
    lexical.save(tmp_path / "lexical.npz")
    loaded = Lexical.load(tmp_path / "lexical.npz")
    np.testing.assert_array_equal(loaded.logits(TEXTS, TEXTS[::-1]), lexical.logits(TEXTS, TEXTS[::-1]))
    lexical.save(tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "lexical.npz").read_bytes()


def test_a_pair_has_its_logit_in_any_company() -> None:
    lexical = lexical_expert()
    together = lexical.logits(TEXTS, TEXTS)
    assert together.dtype == np.float32 and len(set(together.tolist())) > 3
    alone = [float(lexical.logits([text], [text])[0]) for text in TEXTS]
    np.testing.assert_array_equal(together, np.array(alone, dtype=np.float32))


def test_what_teaches_nothing_is_silent(tmp_path: Path) -> None:
    texts = pd.DataFrame({"query": ["a b"] * 8, "title": ["c d"] * 8})
    rows = np.arange(8)
    lexical = fit_lexical(texts, np.ones(8), rows[:6], rows[6:])
    lexical.save(tmp_path / "lexical.npz")
    assert Lexical.load(tmp_path / "lexical.npz").logits(TEXTS, TEXTS).tolist() == pytest.approx([0.0] * len(TEXTS))
