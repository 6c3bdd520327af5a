"""Out-of-fold predictions of every variant: each row is scored by models that never saw its query.

Shape suffixes: S seeds, n rows, t rows of a fold, M markets, N experts.
"""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from components.contracts.tools.device import compute_device
from components.contracts.tools.log import track
from components.contracts.tools.resampling import auc
from components.relevance.config import BEST_SINGLE, EXPERTS_ALONE, TFIDF, RelevanceConfig, VariantConfig
from components.relevance.fitting.blend import blend_out_of_fold
from components.relevance.fitting.fit import History, choose, fit, predict
from components.relevance.fitting.lexical import fit_lexical, lexical_logits
from components.relevance.fitting.networks import build_routed, build_single
from components.relevance.fitting.pseudo_labels import fit_pseudo_labels
from components.relevance.judgments.judged import Judged, query_folds, training_rows
from components.relevance.model.routed import Alone, Routed
from components.relevance.model.router import QueryRouter, RuleRouter
from components.relevance.model.spec import MixtureSpec
from components.relevance.workers import worker_pool


@dataclass(frozen=True)
class CrossFit:
    """What the folds found, once per seed; S seeds, n rows, N experts.

    Attributes:
        logits: variant -> out-of-fold logits float64 (S, n); a routed one's are blended with the lexical expert's where
            that is configured.
        masks: routed variant -> what its router gave each expert of a row, float32 (S, n, N).
        fold: fold of each row, int64 (n,).
        best_single: the expert that validation chose, one per fold and seed.
        histories: losses of the mixture's fits, one per fold and seed.
        networks: routed variant -> what the first seed's first fold trained.
    """

    logits: dict[str, np.ndarray]
    masks: dict[str, np.ndarray]
    fold: np.ndarray
    best_single: list[str]
    histories: list[History]
    networks: dict[str, Routed]


def cross_fit(
    data: Judged, spec: MixtureSpec, config: RelevanceConfig, load: Callable[[], Judged] | None = None
) -> CrossFit:
    """Train every variant on each fold's other queries and predict the fold, once per seed.

    Early stopping, the lexical expert's strength, the rule router's table and the choice of the best single expert use
    validation queries taken from the training part. The lexical expert's share in a fold is what the other folds'
    predictions want.

    Args:
        data: n judged pairs.
        spec: the mixture's shape.
        config: variants, folds and seeds; its `fit_processes` share the rounds.
        load: gives a worker process the same data, which is too large to be sent there; needed for several processes.
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
    processes = min(config.fit_processes, len(rounds))
    assert load or processes == 1, "several processes need a way to load the data"
    with worker_pool(processes, _start, load, spec, config) if processes > 1 else nullcontext() as pool:
        here = (_one_round(data, spec, config, *each, compute_device()) for each in rounds)
        done = pool.map(_round_there, rounds) if pool else here
        both = zip(rounds, done, strict=True)
        for (number, fold), part in track(both, "cross-validate relevance", len(rounds)):
            test = found.fold == fold
            for name, logits in part.logits.items():
                found.logits[name][number, test] = logits
            for name, mask_tN in part.masks.items():
                found.masks[name][number, test] = mask_tN
            found.best_single.append(part.best_single)
            found.histories.append(part.history)
            if (number, fold) == rounds[0]:
                found.networks.update(_networks(part, spec, config))
    if config.lexical:
        found.logits[EXPERTS_ALONE] = found.logits[config.variants[0].name]
        label, lexical_Sn = data.label.numpy(), found.logits[TFIDF]
        for variant in config.variants:
            seeds = zip(found.logits[variant.name], lexical_Sn, strict=True)
            found.logits[variant.name] = np.stack([blend_out_of_fold(*each, label, found.fold) for each in seeds])
    return found


@dataclass(frozen=True)
class _Round:
    """What one fold of one seed found, on the fold's t rows, in arrays that travel between processes.

    Attributes:
        logits: variant -> float64 (t,).
        masks: routed variant -> float32 (t, N).
        best_single, history: as `CrossFit` has them.
        states: routed variant -> its network's parameters and buffers.
    """

    logits: dict[str, np.ndarray]
    masks: dict[str, np.ndarray]
    best_single: str
    history: History
    states: dict[str, dict[str, np.ndarray]]


_WORKER: dict[str, Any] = {}  # what `_start` gives a worker process


def _start(load: Callable[[], Judged], spec: MixtureSpec, config: RelevanceConfig) -> None:
    _WORKER.update(data=load(), spec=spec, config=config)


def _round_there(number_and_fold: tuple[int, int]) -> _Round:
    """A round in a worker process, on a CPU: on one GPU, processes would wait for each other at every short kernel."""
    return _one_round(_WORKER["data"], _WORKER["spec"], _WORKER["config"], *number_and_fold, torch.device("cpu"))


def _one_round(
    data: Judged, spec: MixtureSpec, config: RelevanceConfig, number: int, fold: int, device: torch.device
) -> _Round:
    """Train on the other folds and predict one, in the cross-validation of that number."""
    seed = config.seed + number * 10_000 + fold
    test = np.flatnonzero(query_folds(data.frame["query"], config.folds, config.seed) == fold)
    train, valid = training_rows(data.frame["query"], config, fold)
    label = data.label.numpy()
    data = data.of_fold(fold).to(device)

    singles = fit_singles(data, spec, train, valid, config, seed)
    logits = {name: predict(single, data, test) for name, single in singles.items()}
    quality = {name: auc(label[valid], predict(single, data, valid)) or 0.0 for name, single in singles.items()}
    chosen = max(quality, key=lambda name: quality[name])
    logits[BEST_SINGLE] = logits[chosen]

    logits[TFIDF] = lexical_logits(fit_lexical(data.frame, label, train, valid), data, test)

    masks, states, histories = {}, {}, []
    for variant in config.variants:
        network, history = fit_variant(variant, data, spec, train, valid, config, seed, singles)
        logits[variant.name] = predict(network, data, test)
        masks[variant.name] = choose(network, data, test)
        states[variant.name] = {name: value.cpu().numpy() for name, value in network.state_dict().items()}
        histories.append(history)

    if config.dense is not None:
        assert data.dense is not None
        world = replace(data, vectors=(data.dense,))
        dense = build_single(spec, 0, seed, data.dense.shape[1])
        fit(dense, world, train, valid, config, seed)
        logits[config.dense.name] = predict(dense, world, test)
    return _Round(logits, masks, chosen, histories[0], states)


def _networks(part: _Round, spec: MixtureSpec, config: RelevanceConfig) -> dict[str, Routed]:
    """The networks that a round trained, on the CPU, as `fit` leaves them."""
    networks = {variant.name: build_routed(variant, spec, config.seed) for variant in config.variants}
    for name, network in networks.items():
        network.load_state_dict({key: torch.from_numpy(value) for key, value in part.states[name].items()})
        network.eval()
    return networks


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
    label, market = data.label.cpu().numpy()[valid], data.market.cpu().numpy()[valid]
    table = np.empty((len(data.markets), len(singles)), dtype=np.float32)
    for slot, single in enumerate(singles.values()):
        logits = predict(single, data, valid)
        overall = auc(label, logits) or 0.0
        for code in range(len(data.markets)):
            own = auc(label[market == code], logits[market == code])
            # Earlier slots win ties: engines may order equal preferences as they like.
            table[code, slot] = (overall if own is None else own) - slot * 1e-6
    return torch.from_numpy(table)
