"""Pseudo-label routing: a router that learns which expert alone would have judged a query best.

The target of a query is the expert of the lowest mean cross-entropy on its training rows (argmin_i, our choice). Heads
judge rows that they were not fitted on, nor stopped by: an expert that overfits would look best on its own training
rows. A tuned expert's vectors have seen these rows' labels all the same, which favours it.

Shape suffixes: n rows, N experts.
"""

import numpy as np
import pandas as pd
import torch
from torch.nn import functional

from components.relevance.config import RelevanceConfig
from components.relevance.fitting.fit import fit, predict
from components.relevance.fitting.networks import build_single
from components.relevance.judgments.judged import Judged, query_folds, split_valid
from components.relevance.model.router import QueryRouter
from components.relevance.model.spec import MixtureSpec

_HALVES = 2


def fit_pseudo_labels(
    router: QueryRouter,
    data: Judged,
    spec: MixtureSpec,
    train: np.ndarray,
    config: RelevanceConfig,
    seed: int,
) -> None:
    """Train the router in place on the rows `train`; it stops where the loss on held-out queries is lowest."""
    target = pseudo_labels(data, spec, train, config, seed)
    held_out = query_folds(data.frame["query"].iloc[train], _HALVES * 3, seed) == 0
    device = data.label.device
    router.to(device)
    optimiser = torch.optim.AdamW(router.parameters(), lr=config.router_learning_rate, weight_decay=0.0)
    router.requires_grad_(True)
    best_loss, best_state = float("inf"), _copy(router)
    generator = torch.Generator().manual_seed(seed)
    learning = torch.from_numpy(np.flatnonzero(~held_out))
    kept = torch.from_numpy(np.flatnonzero(held_out)).to(device)
    labels = torch.from_numpy(target).to(device)
    rows = torch.from_numpy(train).to(device)
    for _ in range(config.epochs):
        order = learning[torch.randperm(len(learning), generator=generator)].to(device)
        for batch in torch.split(order, config.batch_size):
            loss = functional.cross_entropy(
                router.logits(data.ngrams[rows[batch]], data.market[rows[batch]]), labels[batch]
            )
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        with torch.inference_mode():
            logits = router.logits(data.ngrams[rows[kept]], data.market[rows[kept]])
            held_loss = float(functional.cross_entropy(logits, labels[kept]))
        if held_loss >= best_loss:
            break
        best_loss, best_state = held_loss, _copy(router)
    router.load_state_dict(best_state)
    router.requires_grad_(False)


def pseudo_labels(
    data: Judged,
    spec: MixtureSpec,
    train: np.ndarray,
    config: RelevanceConfig,
    seed: int,
) -> np.ndarray:
    """The best expert of each training row's query, int64 (n,)."""
    queries = data.frame["query"].iloc[train]
    half = query_folds(queries, _HALVES, seed)
    loss_nN = np.empty((len(train), len(spec.experts)))
    for number in range(_HALVES):
        judged = train[half == number]
        fitted, stopping = split_valid(data.frame["query"], train[half != number], config, seed + number)
        for slot in range(len(spec.experts)):
            network = build_single(spec, slot, seed + number)
            fit(network, data, fitted, stopping, config, seed + number)
            logits = torch.from_numpy(predict(network, data, judged))
            losses = functional.binary_cross_entropy_with_logits(
                logits, data.label.cpu()[torch.from_numpy(judged)].double(), reduction="none"
            )
            loss_nN[half == number, slot] = losses.numpy()
    keys = [queries.to_numpy(), data.frame["market"].iloc[train].to_numpy()]
    mean_nN = pd.DataFrame(loss_nN).groupby(keys).transform("mean")
    return np.asarray(mean_nN.to_numpy().argmin(axis=1))


def _copy(router: QueryRouter) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in router.state_dict().items()}
