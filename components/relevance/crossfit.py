"""Out-of-fold predictions of every variant: each row is scored by models that never saw its query."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from components.contracts.log import track
from components.relevance.auc import auc
from components.relevance.baseline import TfidfBaseline
from components.relevance.config import RelevanceConfig
from components.relevance.fitting import History, Network, fit, predict
from components.relevance.judged import Judged, query_folds
from components.relevance.model.fusion import ConcatFusion, SingleExpert, WeightedAverage
from components.relevance.model.routed import Alone, Routed
from components.relevance.model.router import Router
from components.relevance.model.spec import MixtureSpec

MIXTURE = "mixture"
AVERAGE = "weighted_average"
BEST_SINGLE = "best_single"
TFIDF = "tfidf"


@dataclass(frozen=True)
class CrossFit:
    """What the folds found.

    Attributes:
        logits: variant -> out-of-fold logits float64 (n,).
        fold: fold of each row, int64 (n,).
        best_single: the expert that validation chose in each fold.
        histories: of the mixture, a fold each.
    """

    logits: dict[str, np.ndarray]
    fold: np.ndarray
    best_single: list[str]
    histories: list[History]


def build(variant: str, spec: MixtureSpec, seed: int) -> Network:
    """A fresh network of a variant: the mixture, the weighted average, or an expert's name for it alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if variant == MIXTURE:
            return Routed(Router(spec), ConcatFusion(spec))
        if variant == AVERAGE:
            return Routed(Router(spec), WeightedAverage(spec))
        return Alone(SingleExpert(spec, spec.experts.index(variant)))


def cross_fit(data: Judged, spec: MixtureSpec, config: RelevanceConfig) -> CrossFit:
    """Train every variant on each fold's other queries and predict the fold.

    Early stopping, the TF-IDF baseline's strength and the choice of the best single expert use validation queries
    taken from the training part.
    """
    fold = query_folds(data.frame["query"], config.folds, config.seed)
    networks = (MIXTURE, AVERAGE, *spec.experts)
    logits = {variant: np.empty(len(data)) for variant in (*networks, BEST_SINGLE, TFIDF)}
    best_single, histories = [], []
    label = data.label.numpy()
    for number in track(range(config.folds), "cross-validate relevance", config.folds):
        test = np.flatnonzero(fold == number)
        train, valid = split_valid(data.frame["query"], np.flatnonzero(fold != number), config, config.seed + number)
        quality = {}
        for variant in networks:
            network = build(variant, spec, config.seed + number)
            history = fit(network, data, train, valid, config, config.seed + number)
            logits[variant][test] = predict(network, data, test)
            quality[variant] = auc(label[valid], predict(network, data, valid)) or 0.0
            if variant == MIXTURE:
                histories.append(history)
        chosen = max(spec.experts, key=lambda name: quality[name])
        best_single.append(chosen)
        logits[BEST_SINGLE][test] = logits[chosen][test]
        baseline = TfidfBaseline.fit(data.frame, label, train, valid)
        logits[TFIDF][test] = baseline.predict(data.frame.iloc[test])
    return CrossFit(logits, fold, best_single, histories)


def split_valid(
    queries: pd.Series, rows: np.ndarray, config: RelevanceConfig, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Split rows by query into training rows and about `valid_fraction` validation rows."""
    parts = max(2, round(1 / config.valid_fraction))
    is_valid = query_folds(queries.iloc[rows], parts, seed + 1_000_003) == 0
    return rows[~is_valid], rows[is_valid]
