"""Character TF-IDF and logistic regression: the baseline every learned variant is held against."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

_STRENGTHS = (0.3, 1.0, 3.0)


@dataclass(frozen=True)
class TfidfBaseline:
    """Character 2-4-gram TF-IDF of query and item, the cosine between both, and a logistic regression."""

    vectorizer: Any
    classifier: Any

    @classmethod
    def fit(cls, pairs: pd.DataFrame, label: np.ndarray, train: np.ndarray, valid: np.ndarray) -> "TfidfBaseline":
        """Fit on the rows `train` of pairs (market, query, title); the inverse regularisation is chosen on `valid`."""
        vectorizer = TfidfVectorizer(
            analyzer="char_wb", ngram_range=(2, 4), min_df=2, max_features=50_000, sublinear_tf=True, dtype=np.float32
        )
        rows = pairs.iloc[train]
        vectorizer.fit(pd.concat([rows["query"].drop_duplicates(), rows["title"].drop_duplicates()]))
        train_features = _features(vectorizer, rows)
        valid_features = _features(vectorizer, pairs.iloc[valid])
        candidates = [
            LogisticRegression(C=strength, solver="liblinear").fit(train_features, label[train])
            for strength in _STRENGTHS
        ]
        losses = [
            log_loss(label[valid], candidate.predict_proba(valid_features)[:, 1], labels=[0, 1])
            for candidate in candidates
        ]
        return cls(vectorizer, candidates[int(np.argmin(losses))])

    def predict(self, pairs: pd.DataFrame) -> np.ndarray:
        """Logits float64 (n,)."""
        return np.asarray(self.classifier.decision_function(_features(self.vectorizer, pairs)))


def _features(vectorizer: Any, pairs: pd.DataFrame) -> Any:
    """Sparse (n, 2 V + 1): query, item, cosine; each distinct text is vectorised once."""
    query, item = (_vectors(vectorizer, pairs[column]) for column in ("query", "title"))
    cosine = sparse.csr_matrix(query.multiply(item).sum(axis=1))
    return sparse.hstack([query, item, cosine], format="csr")


def _vectors(vectorizer: Any, texts: pd.Series) -> Any:
    codes, distinct = pd.factorize(texts)
    return vectorizer.transform(distinct)[codes]
