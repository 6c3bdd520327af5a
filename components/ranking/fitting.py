"""Fitting one ranker: tensors stay on the device, batches are index selections, the best epoch is kept.

Shape suffixes: N rows, B batch, F numeric features, C categorical features, S sequences, L sequence length, Y labels,
K domains.
"""

import copy
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from components.contracts.features import FeatureTensors
from components.contracts.markets import DOMAINS
from components.contracts.tools.log import get_logger
from components.ranking.config import RankingConfig, split_variant
from components.ranking.dataset import TrainingSet
from components.ranking.model.rankers import DOMAIN_COLUMN, Ranker, build_ranker, domain_loss

_logger = get_logger(__name__)
_SCORE_BATCH = 8192
_WARM_UP = 0.1  # share of the steps


@dataclass(frozen=True)
class DeviceFeatures:
    """Features (N, F), (N, C) and (N, S, L) on the device; integers in 32 bits until they are used."""

    numeric: Tensor
    categorical: Tensor
    sequences: Tensor

    @classmethod
    def put(cls, features: FeatureTensors, device: torch.device) -> "DeviceFeatures":
        """Copy all rows to the device."""
        return cls(
            torch.from_numpy(features.numeric).to(device),
            torch.from_numpy(features.categorical.astype(np.int32)).to(device),
            torch.from_numpy(features.sequences.astype(np.int32)).to(device),
        )

    def take(self, rows_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Model inputs of the rows."""
        return (
            self.numeric[rows_B],
            self.categorical[rows_B].long(),
            self.sequences[rows_B].long(),
        )


@dataclass(frozen=True)
class Fitted:
    """A fitted ranker in evaluation mode, and how it came about.

    Attributes:
        curve: one entry per epoch: epoch (from 1), loss (mean over its steps), valid_auc.
        best_epoch: the epoch kept.
        seconds: wall time of fitting.
    """

    ranker: Ranker
    curve: list[dict[str, float]]
    best_epoch: int
    seconds: float


def fit(variant: str, data: TrainingSet, features: DeviceFeatures, config: RankingConfig) -> Fitted:
    """Fit `variant` on its training rows; the epoch with the best AUC on native validation exposures is kept."""
    started = time.perf_counter()
    architecture, kind = split_variant(variant)
    rows_N = data.rows("train", kind)
    device = features.numeric.device
    torch.manual_seed(config.seed)
    ranker = build_ranker(replace(config.model, architecture=architecture))
    ranker.encoder.fit_numeric(data.features.numeric[rows_N])
    ranker.to(device)
    labels_NY = torch.from_numpy(data.labels(kind)).to(device)
    weights_K = torch.tensor([config.domain_weights[name] for name in DOMAINS], device=device)
    steps = config.epochs * -(-len(rows_N) // config.batch_size)
    optimizer = _optimizer(ranker, config)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step / steps))

    valid_N = data.rows("valid", "exposed")
    curve: list[dict[str, float]] = []
    best_auc, best_epoch, best_state = -np.inf, 0, ranker.state_dict()
    for epoch in range(1, config.epochs + 1):
        ranker.train()
        losses = []
        for batch_B in _batches(rows_N, config.batch_size, config.seed + epoch, device):
            inputs = features.take(batch_B)
            loss = domain_loss(ranker(*inputs), labels_NY[batch_B], inputs[1][:, DOMAIN_COLUMN], weights_K)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            losses.append(loss.detach())
        probabilities_NY = predict(ranker, features, valid_N)
        valid_auc = float(roc_auc_score(data.native[valid_N, 0], probabilities_NY[:, 0]))
        mean_loss = float(torch.stack(losses).mean())
        curve.append({"epoch": epoch, "loss": mean_loss, "valid_auc": valid_auc})
        _logger.info("%s: epoch %d/%d, loss %.4f, valid AUC %.4f", variant, epoch, config.epochs, mean_loss, valid_auc)
        if not best_auc >= valid_auc:
            best_auc, best_epoch, best_state = valid_auc, epoch, copy.deepcopy(ranker.state_dict())
    ranker.load_state_dict(best_state)
    return Fitted(ranker.eval(), curve, best_epoch, time.perf_counter() - started)


def predict(ranker: Ranker, features: DeviceFeatures, rows_N: np.ndarray) -> np.ndarray:
    """Probabilities float32 (N, 2) of click and purchase, in evaluation mode."""
    ranker.eval()
    with torch.inference_mode():
        parts = [
            ranker(*features.take(batch_B)).sigmoid().cpu()
            for batch_B in torch.from_numpy(rows_N).to(features.numeric.device).split(_SCORE_BATCH)  # type: ignore[no-untyped-call]
        ]
    return np.asarray(torch.cat(parts).numpy())


def _batches(rows_N: np.ndarray, size: int, seed: int, device: torch.device) -> Iterator[Tensor]:
    shuffled_N = np.random.default_rng(seed).permutation(rows_N)
    yield from torch.from_numpy(shuffled_N).to(device).split(size)  # type: ignore[no-untyped-call]


def _optimizer(ranker: Ranker, config: RankingConfig) -> torch.optim.AdamW:
    tables = {id(p) for p in ranker.encoder.tables.parameters()}
    parameters = list(ranker.parameters())
    groups = [
        {"params": [p for p in parameters if id(p) in tables], "weight_decay": config.embedding_decay},
        {
            "params": [p for p in parameters if id(p) not in tables and p.dim() > 1],
            "weight_decay": config.weight_decay,
        },
        {"params": [p for p in parameters if id(p) not in tables and p.dim() <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)


def _rate(done: float) -> float:
    """Share of the peak rate after a share `done` of the steps: linear warm-up, then cosine to zero.

    transformers' schedule of this shape begins at a rate of 0, which wastes the first step, and warms up for whole
    steps: its rates differ from these by up to 4 % of the peak, and so would every figure.
    """
    if done < _WARM_UP:
        return max(done, 1e-3) / _WARM_UP
    return 0.5 * (1 + float(np.cos(np.pi * min(1.0, (done - _WARM_UP) / (1 - _WARM_UP)))))
