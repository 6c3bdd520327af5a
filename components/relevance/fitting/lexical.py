"""Fits the lexical expert: the baseline every learned variant is held against, and what is blended with the mixture."""

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from components.relevance.judgments.judged import Judged
from components.relevance.model.lexical import Lexical, ngrams

_STRENGTHS = (0.3, 1.0, 3.0)
_MOST_NGRAMS = 50_000


def fit_lexical(pairs: pd.DataFrame, label: np.ndarray, train: np.ndarray, valid: np.ndarray) -> Lexical:
    """Fit on the rows `train` of normalised pairs (query, title); the inverse regularisation is chosen on `valid`.

    Training rows of one class teach nothing: the expert is then silent.
    """
    if len(set(label[train])) < 2:
        return Lexical.silent()
    vectorizer = TfidfVectorizer(
        analyzer=ngrams, min_df=2, max_features=_MOST_NGRAMS, sublinear_tf=True, dtype=np.float32
    )
    rows = pairs.iloc[train]
    vectorizer.fit(pd.concat([rows["query"].drop_duplicates(), rows["title"].drop_duplicates()]))
    features = _features(vectorizer, rows)
    fitted = [LogisticRegression(C=strength, solver="liblinear").fit(features, label[train]) for strength in _STRENGTHS]
    features = _features(vectorizer, pairs.iloc[valid])
    losses = [log_loss(label[valid], each.predict_proba(features)[:, 1], labels=[0, 1]) for each in fitted]
    best = fitted[int(np.argmin(losses))]
    known = len(vectorizer.idf_)
    query_V, title_V, cosine_1 = np.split(best.coef_[0].astype(np.float32), [known, 2 * known])
    return Lexical(
        ngrams_V=vectorizer.get_feature_names_out().astype(np.str_),
        idf_V=vectorizer.idf_.astype(np.float32),
        query_V=query_V,
        title_V=title_V,
        pair_2=np.append(cosine_1, best.intercept_).astype(np.float32),
    )


def lexical_logits(lexical: Lexical, data: Judged, rows: np.ndarray) -> np.ndarray:
    """float32 (len(rows),)."""
    return lexical.logits(*(data.frame[name].iloc[rows].tolist() for name in ("query", "title")))


def _features(vectorizer: TfidfVectorizer, pairs: pd.DataFrame) -> sparse.csr_matrix:
    """Sparse (n, 2 V + 1): query, item, cosine; each distinct text is vectorised once."""
    query, item = (_vectors(vectorizer, pairs[column]) for column in ("query", "title"))
    cosine = sparse.csr_matrix(query.multiply(item).sum(axis=1))
    return sparse.hstack([query, item, cosine], format="csr")


def _vectors(vectorizer: TfidfVectorizer, texts: pd.Series) -> sparse.csr_matrix:
    codes, distinct = pd.factorize(texts)
    return vectorizer.transform(distinct)[codes]
