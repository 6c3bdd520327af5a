"""Fitting one ranker: tensors stay on the device, batches are index selections, the best epoch is kept.

One process fits, or several together: each knows every batch and computes its own rows of it. Their gradients add up to
the batch's, so that any number of processes fits the same weights up to rounding, but for what dropout draws.

Shape suffixes: N rows, B batch, F numeric features, C categorical features, R requests, S sequences, L sequence length,
Y labels, K domains, O a process's own rows of a batch.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from itertools import islice

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn.functional import one_hot

from components.contracts.markets import DOMAINS
from components.contracts.tools.log import get_logger
from components.contracts.training.checkpoint import load_checkpoint, save_checkpoint
from components.contracts.training.jobs import JobFolder
from components.contracts.training.processes import World, alone
from components.ranking.config import RankingConfig, split_variant
from components.ranking.dataset import TrainingSet
from components.ranking.model.rankers import DOMAIN_COLUMN, Ranker, build_ranker, domain_loss
from components.ranking.position import PositionBias

_logger = get_logger(__name__)
_SCORE_BATCH = 8192
_WARM_UP = 0.1  # share of the steps


@dataclass(frozen=True)
class DeviceFeatures:
    """Features (N, F), (N, C) and (R, S, L) on the device; integers in 32 bits until they are used.

    `sequence` (N,) is each row's place among the sequences.
    """

    numeric: Tensor
    categorical: Tensor
    sequences: Tensor
    sequence: Tensor

    @classmethod
    def put(cls, data: TrainingSet, device: torch.device) -> "DeviceFeatures":
        """Copy all rows to the device."""
        return cls(
            torch.from_numpy(data.features.numeric).to(device),
            torch.from_numpy(data.features.categorical.astype(np.int32)).to(device),
            torch.from_numpy(data.features.sequences.astype(np.int32)).to(device),
            torch.from_numpy(data.sequence.astype(np.int32)).to(device),
        )

    def take(self, rows_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Model inputs of the rows."""
        return (
            self.numeric[rows_B],
            self.categorical[rows_B].long(),
            self.sequences[self.sequence[rows_B]].long(),
        )


@dataclass(frozen=True)
class Fitted:
    """A fitted ranker in evaluation mode, and how it came about.

    Attributes:
        curve: one entry per epoch: epoch (from 1), loss (mean over its steps), valid_auc.
        best_epoch: the epoch kept.
        seconds: wall time of fitting, in the process that ended it.
        processes: how many fitted it together; they, and the seed, decide what dropout drew.
    """

    ranker: Ranker
    curve: list[dict[str, float]]
    best_epoch: int
    seconds: float
    processes: int = 1


@dataclass
class _Progress:
    """How far a fit has come: what a checkpoint holds beside tensors."""

    step: int = 0
    best_epoch: int = 0
    curve: list[dict[str, float]] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)  # of the current epoch's steps


def fit(
    variant: str,
    data: TrainingSet,
    features: DeviceFeatures,
    config: RankingConfig,
    world: World | None = None,
    job: JobFolder | None = None,
) -> Fitted:
    """Fit `variant` on its training rows; the epoch with the best AUC on native validation exposures is kept.

    Args:
        variant: an architecture and its rows.
        data: the samples.
        features: theirs, on the world's device.
        config: widths, epochs, rates and seed.
        world: the processes that fit together; this one alone by default.
        job: where checkpoints are kept and found again; none by default.
    """
    world = world or alone(features.numeric.device)
    with world.own_randomness():
        return _Fit(variant, data, features, config, world, job).run()


class _Fit:
    """One variant's fit."""

    def __init__(
        self,
        variant: str,
        data: TrainingSet,
        features: DeviceFeatures,
        config: RankingConfig,
        world: World,
        job: JobFolder | None,
    ) -> None:
        architecture, kind = split_variant(variant)
        self.variant, self.data, self.features, self.config = variant, data, features, config
        self.world, self.job = world, job
        self.rows_N, self.valid_N = data.rows("train", kind), data.rows("valid", "exposed")
        self.labels_NY = torch.from_numpy(data.labels(kind)).to(world.device)
        self.weights_K = torch.tensor([config.domain_weights[name] for name in DOMAINS], device=world.device)
        self.steps_an_epoch = -(-len(self.rows_N) // config.batch_size)
        self.total_steps = config.epochs * self.steps_an_epoch
        torch.manual_seed(config.seed)
        self.ranker = build_ranker(replace(config.model, architecture=architecture))
        self.ranker.encoder.fit_numeric(data.features.numeric[self.rows_N])
        self.bias = PositionBias(self.ranker, data, config, world.device)
        self.network = world.distribute(self.bias.network.to(world.device))
        self.optimiser = _optimiser(self.ranker, self.bias.network, config)
        self.progress = _Progress()
        self.losses: list[Tensor] = []  # own parts of the last steps' losses, read when they are needed: no step waits
        self.best: dict[str, Tensor] = {}

    def run(self) -> Fitted:
        """Fit to the end, from the checkpoint if there is one."""
        started = time.perf_counter()
        self._resume()
        while self.progress.step < self.total_steps:
            self._train_epoch()
            self._close_epoch()
        self.ranker.load_state_dict(self.best)
        best, seconds = self.progress.best_epoch, time.perf_counter() - started
        return Fitted(self.ranker.eval(), self.progress.curve, best, seconds, self.world.size)

    def _train_epoch(self) -> None:
        epoch, done = divmod(self.progress.step, self.steps_an_epoch)
        self.network.train()
        batches = _batches(self.rows_N, self.config.batch_size, self.config.seed + epoch + 1, self.world.device)
        for batch_B in islice(batches, done, None):
            self._step(batch_B)
            self.progress.step += 1
            within = self.progress.step % self.steps_an_epoch
            if within and self.progress.step % self.config.checkpoint_steps == 0:
                self._save()

    def _step(self, batch_B: Tensor) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = self.config.learning_rate * _rate(self.progress.step / self.total_steps)
        self.world.seed(self.config.seed, self.progress.step)  # of dropout and forgotten ids
        own_O = self.world.share(batch_B)
        inputs = self.features.take(own_O)
        counts_K = one_hot(self.features.categorical[batch_B, DOMAIN_COLUMN].long(), len(DOMAINS)).sum(0)
        logits_OY = self.network(*inputs, *self.bias.more(own_O))
        loss = domain_loss(
            logits_OY,
            self.labels_NY[own_O],
            inputs[1][:, DOMAIN_COLUMN],
            self.weights_K,
            counts_K,
            self.bias.weights_N[own_O],
        )
        self.optimiser.zero_grad()
        (loss * self.world.size).backward()  # type: ignore[no-untyped-call]  # DDP takes the processes' mean
        self.optimiser.step()
        self.losses.append(loss.detach())

    def _close_epoch(self) -> None:
        self._collect_losses()
        progress = self.progress
        epoch, loss = len(progress.curve) + 1, float(np.mean(progress.losses))
        progress.losses = []
        valid_auc = float(roc_auc_score(self.data.native[self.valid_N, 0], self._valid_clicks()))
        progress.curve.append({"epoch": epoch, "loss": loss, "valid_auc": valid_auc})
        if all(not earlier["valid_auc"] >= valid_auc for earlier in progress.curve[:-1]):
            progress.best_epoch = epoch
            self.best = {name: tensor.detach().clone() for name, tensor in self.ranker.state_dict().items()}
        self._save()
        if self.world.leads:
            told = (self.variant, epoch, self.config.epochs, loss, valid_auc)
            _logger.info("%s: epoch %d/%d, loss %.4f, valid AUC %.4f", *told)

    def _valid_clicks(self) -> np.ndarray:
        """p(click) of the validation rows: each process scores its own, and all get the same."""
        own = slice(self.world.rank, None, self.world.size)
        scores_N = torch.zeros(len(self.valid_N))
        scores_N[own] = torch.from_numpy(predict(self.ranker, self.features, self.valid_N[own])[:, 0])
        return np.asarray(self.world.sum(scores_N).cpu().numpy())

    def _collect_losses(self) -> None:
        if self.losses:
            self.progress.losses += self.world.sum(torch.stack(self.losses)).tolist()
            self.losses = []

    def _save(self) -> None:
        self._collect_losses()
        if self.job is None:
            return
        facts = {"progress": json.dumps(asdict(self.progress))}
        path, writes = self.job.path / self._checkpoint, self.world.leads
        save_checkpoint(path, self.network, self.optimiser, self.best, facts, writes)
        if writes:
            self.job.keep(self._checkpoint)

    def _resume(self) -> None:
        if self.job is None or not (self.job.path / self._checkpoint).is_file():
            return
        checkpoint = load_checkpoint(self.job.path / self._checkpoint, self.network, self.optimiser)
        self.best, self.progress = checkpoint.best, _Progress(**json.loads(checkpoint.facts["progress"]))
        if self.world.leads:
            _logger.info("%s: going on at step %d of %d", self.variant, self.progress.step, self.total_steps)

    @property
    def _checkpoint(self) -> str:
        return f"{self.variant}.safetensors"


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


def _optimiser(ranker: Ranker, network: nn.Module, config: RankingConfig) -> torch.optim.AdamW:
    tables = {id(p) for p in ranker.encoder.tables.parameters()}
    parameters = list(network.parameters())
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

    By the step alone: a resumed fit needs no schedule's state. transformers' schedule of this shape begins at a rate of
    0, which wastes the first step, and warms up for whole steps: its rates differ from these by up to 4 % of the peak,
    and so would every figure.
    """
    if done < _WARM_UP:
        return max(done, 1e-3) / _WARM_UP
    return 0.5 * (1 + float(np.cos(np.pi * min(1.0, (done - _WARM_UP) / (1 - _WARM_UP)))))
