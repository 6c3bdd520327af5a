"""Out-of-fold predictions of every variant: each row is scored by models that never saw its query."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from components.contracts.log import track
from components.relevance.auc import auc
from components.relevance.baseline import TfidfBaseline
from components.relevance.config import BEST_SINGLE, TFIDF, RelevanceConfig, VariantConfig
from components.relevance.fitting import History, choose, fit, predict
from components.relevance.judged import Judged, query_folds, training_rows
from components.relevance.model.routed import Alone, Routed
from components.relevance.model.router import QueryRouter, RuleRouter
from components.relevance.model.spec import MixtureSpec
from components.relevance.networks import build_routed, build_single
from components.relevance.pseudo_labels import fit_pseudo_labels


@dataclass(frozen=True)
class CrossFit:
    """What the folds found, once a seed; S seeds, n rows, N experts.

    Attributes:
        logits: variant -> out-of-fold logits float64 (S, n).
        masks: routed variant -> what its router gave each expert of a row, float32 (S, n, N).
        fold: fold of each row, int64 (n,).
        best_single: the expert that validation chose, a fold and seed each.
        histories: of the mixture, a fold and seed each.
        networks: routed variant -> what the first seed's first fold trained.
    """

    logits: dict[str, np.ndarray]
    masks: dict[str, np.ndarray]
    fold: np.ndarray
    best_single: list[str]
    histories: list[History]
    networks: dict[str, Routed]


def cross_fit(data: Judged, spec: MixtureSpec, config: RelevanceConfig) -> CrossFit:
    """Train every variant on each fold's other queries and predict the fold, once a seed.

    Early stopping, the TF-IDF baseline's strength, the rule router's table and the choice of the best single expert use
    validation queries taken from the training part.
    """
    shape = (config.seeds, len(data))
    names = [*(variant.name for variant in config.variants), *spec.experts, BEST_SINGLE, TFIDF]
    names += [config.dense.name] if config.dense else []
    found = CrossFit(
        logits={name: np.empty(shape) for name in names},
        masks={v.name: np.empty((*shape, len(spec.experts)), dtype=np.float32) for v in config.variants},
        fold=query_folds(data.frame["query"], config.folds, config.seed),
        best_single=[],
        histories=[],
        networks={},
    )
    rounds = [(number, fold) for number in range(config.seeds) for fold in range(config.folds)]
    for number, fold in track(rounds, "cross-validate relevance", len(rounds)):
        _one_fold(data, spec, config, found, number, fold)
    return found


def _one_fold(
    data: Judged, spec: MixtureSpec, config: RelevanceConfig, found: CrossFit, number: int, fold: int
) -> None:
    """Fill the rows of one fold of the cross-validation of that number in `found`."""
    seed = config.seed + number * 10_000 + fold
    test = np.flatnonzero(found.fold == fold)
    train, valid = training_rows(data.frame["query"], config, fold)
    label = data.label.numpy()
    data = data.of_fold(fold)

    singles = fit_singles(data, spec, train, valid, config, seed)
    for name, single in singles.items():
        found.logits[name][number, test] = predict(single, data, test)
    quality = {name: auc(label[valid], predict(single, data, valid)) or 0.0 for name, single in singles.items()}
    chosen = max(quality, key=lambda name: quality[name])
    found.best_single.append(chosen)
    found.logits[BEST_SINGLE][number, test] = found.logits[chosen][number, test]

    for variant in config.variants:
        network, history = fit_variant(variant, data, spec, train, valid, config, seed, singles)
        found.logits[variant.name][number, test] = predict(network, data, test)
        found.masks[variant.name][number, test] = choose(network, data, test)
        found.networks.setdefault(variant.name, network)
        if variant is config.variants[0]:
            found.histories.append(history)

    if config.dense is not None:
        assert data.dense is not None
        world = replace(data, vectors=(data.dense,))
        dense = build_single(spec, 0, seed, data.dense.shape[1])
        fit(dense, world, train, valid, config, seed)
        found.logits[config.dense.name][number, test] = predict(dense, world, test)
    baseline = TfidfBaseline.fit(data.frame, label, train, valid)
    found.logits[TFIDF][number, test] = baseline.predict(data.frame.iloc[test])


def fit_singles(
    data: Judged, spec: MixtureSpec, train: np.ndarray, valid: np.ndarray, config: RelevanceConfig, seed: int
) -> dict[str, Alone]:
    """A head on each expert alone, in slot order."""
    singles = {name: build_single(spec, slot, seed) for slot, name in enumerate(spec.experts)}
    for single in singles.values():
        fit(single, data, train, valid, config, seed)
    return singles


def fit_variant(
    variant: VariantConfig,
    data: Judged,
    spec: MixtureSpec,
    train: np.ndarray,
    valid: np.ndarray,
    config: RelevanceConfig,
    seed: int,
    singles: Mapping[str, Alone],
) -> tuple[Routed, History]:
    """A routed variant, fitted; a router that does not learn with its head is made ready first."""
    network = build_routed(variant, spec, seed)
    if isinstance(network.router, RuleRouter):
        network.router.preference.copy_(market_preference(data, valid, singles))
    elif isinstance(network.router, QueryRouter) and not network.router.learns:
        fit_pseudo_labels(network.router, data, spec, train, config, seed)
    return network, fit(network, data, train, valid, config, seed)


def market_preference(data: Judged, valid: np.ndarray, singles: Mapping[str, Alone]) -> torch.Tensor:
    """The rule router's table float32 (M, N): each expert's validation AUC in each market.

    A market whose validation rows are of one class takes the AUC of all markets together.
    """
    label, market = data.label.numpy()[valid], data.market.numpy()[valid]
    table = np.empty((len(data.markets), len(singles)), dtype=np.float32)
    for place, single in enumerate(singles.values()):
        logits = predict(single, data, valid)
        overall = auc(label, logits) or 0.0
        for code in range(len(data.markets)):
            own = auc(label[market == code], logits[market == code])
            # Earlier slots win ties: engines may order equal preferences as they like.
            table[code, place] = (overall if own is None else own) - place * 1e-6
    return torch.from_numpy(table)
