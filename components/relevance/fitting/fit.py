"""Fit one network on judged pairs, stopping where the validation loss is lowest.

Shape suffixes: B rows of a batch, N experts.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from components.relevance.config import RelevanceConfig
from components.relevance.judgments.judged import Judged
from components.relevance.model.routed import Alone, Routed

Network = Routed | Alone


@dataclass(frozen=True)
class History:
    """Losses per epoch (mean binary cross-entropy), and the epoch whose weights were kept."""

    train: list[float]
    valid: list[float]
    best: int


def fit(
    network: Network, data: Judged, train: np.ndarray, valid: np.ndarray, config: RelevanceConfig, seed: int
) -> History:
    """Train in place on the rows `train`; keep the weights of the epoch with the lowest loss on the rows `valid`.

    The network moves to where the data is. The head's slot statistics are taken from the training rows first. The
    router's temperature falls geometrically over the epochs.
    """
    device = data.label.device
    network.to(device)
    rows = torch.from_numpy(train).to(device)
    network.fusion.fit_norms(tuple(vectors[rows] for vectors in data.vectors))
    optimiser = torch.optim.AdamW(_groups(network, config), fused=True if device.type == "cuda" else None)
    batches = max(1, round(len(train) / config.batch_size))
    epochs = max(1, min(config.epochs, config.max_steps // batches))
    generator = torch.Generator().manual_seed(seed)
    peaks = [group["lr"] for group in optimiser.param_groups]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, peaks, total_steps=epochs * batches)
    history = History([], [], 0)
    best_loss, best_state, best = float("inf"), _copy(network), 0
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        for epoch in range(epochs):
            share = epoch / max(1, epochs - 1)
            temperature = config.temperature_start * (config.temperature_end / config.temperature_start) ** share
            network.train()
            losses = []
            order = torch.randperm(len(rows), generator=generator).to(device)
            for batch in torch.tensor_split(rows[order], batches):
                logits_B, balance = network(*_inputs(data, batch), temperature)
                loss = functional.binary_cross_entropy_with_logits(logits_B, data.label[batch])
                optimiser.zero_grad(set_to_none=True)
                (loss + config.load_balance * balance).backward()
                optimiser.step()
                schedule.step()
                losses.append(loss.detach())
            history.train.append(float(np.mean(torch.stack(losses).tolist())))
            history.valid.append(_loss(network, data, valid))
            if history.valid[-1] < best_loss:
                best_loss, best_state, best = history.valid[-1], _copy(network), epoch
            if epoch - best >= config.patience:
                break
    network.load_state_dict(best_state)
    network.eval()
    return History(history.train, history.valid, best)


@torch.inference_mode()
def predict(network: Network, data: Judged, rows: np.ndarray) -> np.ndarray:
    """Uncalibrated logits float64 (len(rows),)."""
    network.eval()
    chunks = torch.split(torch.from_numpy(rows).to(data.label.device), 4096)
    return np.concatenate([network(*_inputs(data, chunk), 1.0)[0].double().cpu().numpy() for chunk in chunks])


@torch.inference_mode()
def choose(network: Routed, data: Judged, rows: np.ndarray) -> np.ndarray:
    """What the router gives each expert, float32 (len(rows), N): 1 and 0, or a soft router's weights."""
    network.eval()
    chosen = torch.from_numpy(rows).to(data.label.device)
    return np.asarray(network.router(data.ngrams[chosen], data.market[chosen])[1].cpu().numpy())


def _loss(network: Network, data: Judged, rows: np.ndarray) -> float:
    logits, label = torch.from_numpy(predict(network, data, rows)), data.label.cpu()[torch.from_numpy(rows)]
    return float(functional.binary_cross_entropy_with_logits(logits, label.double()))


def _inputs(data: Judged, rows: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    return data.ngrams[rows], data.market[rows], tuple(vectors[rows] for vectors in data.vectors)


def _groups(network: nn.Module, config: RelevanceConfig) -> list[dict[str, Any]]:
    """Decay the head's matrices; leave biases, norms, null vectors and the router free. A frozen router stays out."""
    learning = [(name, weight) for name, weight in network.named_parameters() if weight.requires_grad]
    router = [weight for name, weight in learning if name.startswith("router.")]
    head = [weight for name, weight in learning if not name.startswith("router.")]
    free = {"lr": config.learning_rate, "weight_decay": 0.0}
    groups = [
        {"params": [weight for weight in head if weight.ndim > 1]} | free | {"weight_decay": config.weight_decay},
        {"params": [weight for weight in head if weight.ndim <= 1]} | free,
        {"params": router} | free | {"lr": config.router_learning_rate},
    ]
    return [group for group in groups if group["params"]]


def _copy(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}
