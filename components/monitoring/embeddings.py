"""Drift of embeddings: can a classifier tell the current window's vectors from the reference window's?

Evidently's own `EmbeddingsDrift` always draws a t-SNE (half a minute for a thousand rows), and its classifier splits
rows at random, so that a user's repeated queries lie on both sides of the split and pass for drift. So: principal
components, a logistic regression on held-out users (scikit-learn, which Evidently brings), its ROC AUC, and the AUC's
p-value from flipping users' signs.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from components.monitoring.config import MonitoringConfig
from components.monitoring.findings import Finding, untested
from components.monitoring.sign_flips import (
    Statistic,
    flipped,
    flips,
    group_rows,
    signed_weights,
    value_contributions,
)

_FOLDS = 5


@dataclass(frozen=True)
class Vectors:
    """Vectors of texts or pairs.

    Attributes:
        name: of what is embedded, e.g. "title".
        rows: "reference" and "current" -> row of `values` of each row of that frame, -1 where there is no vector.
        values: float32 (v, d).
    """

    name: str
    rows: Mapping[str, np.ndarray]
    values: np.ndarray


def compare_vectors(
    reference: pd.DataFrame, current: pd.DataFrame, vectors: Vectors, entity: str, config: MonitoringConfig
) -> list[Finding]:
    """One finding per market: AUC of telling current vectors from reference vectors.

    Frames have columns `market` and `entity`; a vector counts once for each entity that saw it in a window.
    """
    parts = []
    for window, frame in (("reference", reference), ("current", current)):
        part = pd.DataFrame({"market": frame["market"].to_numpy(), "entity": frame[entity].to_numpy()})
        part["vector"] = vectors.rows[window]
        part["is_current"] = window == "current"
        parts.append(part[part["vector"] >= 0].drop_duplicates())
    rows = pd.concat(parts, ignore_index=True)
    markets = sorted(set(reference["market"]) | set(current["market"]))
    return [_compare(market, rows[rows["market"] == market], vectors, config) for market in markets]


def _compare(market: str, rows: pd.DataFrame, vectors: Vectors, config: MonitoringConfig) -> Finding:
    is_current = rows["is_current"].to_numpy()
    sizes = (int((~is_current).sum()), int(is_current.sum()))
    entities = pd.factorize(rows["entity"])[0]
    num_entities = int(entities.max(initial=-1)) + 1
    why = ""
    if min(sizes) < config.min_rows:
        why = f"{sizes[0]} reference and {sizes[1]} current vectors, {config.min_rows} needed"
    elif num_entities < config.min_entities:
        why = f"{num_entities} distinct users or queries, {config.min_entities} needed to tell a move from noise"
    if why:
        return untested("embedding", market, vectors.name, sizes, why)
    scores = _held_out_scores(rows["vector"].to_numpy(), is_current, entities, vectors.values, config)
    # The AUC less a half is the difference of the windows' mean ranks; only a higher one is a move.
    ranks = (rankdata(scores)[:, None] - 0.5) / len(scores)
    groups, _ = group_rows(rows["entity"], len(rows), config.seed)
    contributions = value_contributions(ranks, signed_weights(is_current), groups)
    null = flipped(contributions, flips(config.draws, config.seed))[:, 0]
    change = float(contributions.sum())
    what = f"a classifier tells the windows apart with an AUC of {0.5 + change:.2f}"
    p_value = Statistic(change, null).p_value
    return Finding(
        "embedding", market, vectors.name, what, *sizes, p_values={"AUC": p_value}, p_value=p_value, size=0.5 + change
    )


def _held_out_scores(
    vector_rows: np.ndarray, is_current: np.ndarray, entities: np.ndarray, values: np.ndarray, config: MonitoringConfig
) -> np.ndarray:
    """Score of every row: how much it looks current to a classifier that did not see the row's entity."""
    from sklearn.linear_model import LogisticRegression

    distinct, inverse = np.unique(vector_rows, return_inverse=True)
    features = _components(values[distinct], config.embedding_components)[inverse]
    folds = np.random.default_rng(config.seed).integers(0, _FOLDS, size=int(entities.max()) + 1)[entities]
    scores = np.zeros(len(features))
    for fold in range(_FOLDS):
        held_out = folds == fold
        if features.shape[1] and held_out.any() and len(np.unique(is_current[~held_out])) == 2:
            model = LogisticRegression(C=0.1, max_iter=200, class_weight="balanced")
            model.fit(features[~held_out], is_current[~held_out])
            # Without the intercept, which differs between folds and would blur their common ranking.
            scores[held_out] = features[held_out] @ model.coef_[0]
    return scores


def _components(values: np.ndarray, count: int) -> np.ndarray:
    """The leading principal components of (v, d) vectors, each of unit variance: (v, at most `count`)."""
    centred = values.astype(np.float64) - values.mean(0)
    left, singular, _ = np.linalg.svd(centred, full_matrices=False)
    kept = singular[:count] > 1e-9 * max(float(singular[0]), 1e-12)
    return np.asarray(left[:, :count][:, kept] * np.sqrt(len(values)))
