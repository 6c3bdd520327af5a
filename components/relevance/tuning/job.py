"""Tune one expert on judged pairs: one process, or several under torchrun, by the same code.

    python -m components.relevance.tuning.job JOB                                    one process
    torchrun --nproc-per-node 8 -m components.relevance.tuning.job JOB               DDP or FSDP2, as the job says

A job (contracts/training/jobs.py) has job.json and rows.parquet (market, query, title, label, valid). It grows a
checkpoint while it runs, which a later call takes up, however the last one ended, and `tuned/` when it is done: an
expert's folder like any other.

Needs torch, transformers (tokenizers, safetensors), peft and pyarrow alone. Shapes: B pairs, T tokens.
"""

import json
import math
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor, nn
from torch.nn import functional

from components.contracts.errors import ArchipelagoError, BadInput
from components.contracts.tools.log import configure, get_logger
from components.contracts.tools.manifest import atomic_directory, file_digest, package_versions, read_json, write_json
from components.contracts.training.checkpoint import learned_state, load_checkpoint, read_facts, save_checkpoint
from components.contracts.training.jobs import JOB_FILE, JobFolder, open_job, shared_folder
from components.contracts.training.processes import World, processes
from components.relevance.encoding.padded import pad
from components.relevance.encoding.pair_tokenizer import PairTokenizer
from components.relevance.encoding.texts import Pair
from components.relevance.model.spec import ExpertSpec, TuningSpec
from components.relevance.tuning.adapters import merged_trunk, new_tuned_expert

ROWS_FILE, CHECKPOINT, TUNED = "rows.parquet", "checkpoint.safetensors", "tuned"
HISTORY_FILE = "tuning.json"
# Part of a job's identity: raise it when tuning changes.
_VERSION = 2
_PAIR = ("market", "query", "title")
# Rows whose lengths are sorted together before they are cut into steps: batches waste little and still vary.
_SORTED_STEPS = 32
_logger = get_logger(__name__)


def write_job(
    job: Path,
    folder: str | Path,
    spec: ExpertSpec,
    tuning: TuningSpec,
    pairs: Sequence[Pair],
    label: np.ndarray,
    valid: np.ndarray,
) -> None:
    """Describe a tuning.

    Args:
        job: folder to make or to complete; a checkpoint of the same job in it stays.
        folder: where all who tune find the expert's weights and tokenizer.
        spec: how the expert reads and pools.
        tuning: how it is tuned.
        pairs: n normalised pairs.
        label: 0/1 (n,).
        valid: bool (n,), the rows that choose the epoch and are not trained on.

    Raises:
        BadInput: fewer rows to train on than a step takes, or none to choose the epoch by.
    """
    count = int((~valid).sum())
    if count < tuning.batch_rows:
        raise BadInput(f"expert {spec.name}: {count} pairs to tune on are fewer than the {tuning.batch_rows} of a step")
    if not valid.any():
        raise BadInput(f"expert {spec.name}: no validation pairs to choose the epoch by")
    job.mkdir(parents=True, exist_ok=True)
    rows = pa.table(
        {
            **{name: [pair[place] for pair in pairs] for place, name in enumerate(_PAIR)},
            "label": label.astype(np.float32),
            "valid": valid.astype(bool),
        }
    )
    pq.write_table(rows, job / ROWS_FILE)
    content = {
        "version": _VERSION,
        "packages": package_versions(["torch", "transformers", "peft"]),
        "folder": str(folder),
        "spec": asdict(spec),
        "tuning": asdict(tuning),
        "rows": file_digest(job / ROWS_FILE),
    }
    write_json(job / JOB_FILE, content)


def tune_job(job: JobFolder, world: World | None = None) -> None:
    """Run or resume a job in this process, or as this process's part of a `world`."""
    if is_tuned(job.path):
        return
    if world:
        _Tuning(job, world).run()
        return
    with processes() as world:
        _Tuning(job, world).run()


def is_tuned(job: Path) -> bool:
    """Whether a job's folder holds its tuned expert, whole."""
    return (job / TUNED / HISTORY_FILE).is_file()


class TuningDiverged(ArchipelagoError):
    """The loss is infinite or NaN."""


class _Tuning:
    """One job's run."""

    def __init__(self, job: JobFolder, world: World) -> None:
        content = read_json(job.path / JOB_FILE)
        self.job, self.world = job, world
        self.identity = json.dumps(content, sort_keys=True)
        self.folder = shared_folder(content["folder"], world)
        self.spec, self.tuning = ExpertSpec(**content["spec"]), TuningSpec(**content["tuning"])
        rows = pq.read_table(job.path / ROWS_FILE)
        tokenizer = PairTokenizer.load(self.folder, self.spec)
        self.ids = tokenizer.tokens(*(rows[name].to_pylist() for name in _PAIR)).lists()
        self.label = torch.tensor(rows["label"].to_numpy())
        valid = rows["valid"].to_numpy()
        self.train, self.valid = np.flatnonzero(~valid), np.flatnonzero(valid)
        self.steps_an_epoch = len(self.train) // self.tuning.batch_rows
        self.total_steps = self.steps_an_epoch * self.tuning.epochs

        self.model = new_tuned_expert(self.folder, self.spec, self.tuning).to(world.device)
        self.network = self._distribute()
        self.learning = [weight for weight in self.model.parameters() if weight.requires_grad]
        self.optimiser = self._optimiser()
        self.step, self.history = 0, _History([], [], -1)
        self.losses: list[Tensor] = []  # of this epoch's steps so far; read once an epoch, so that no step waits
        self.best: dict[str, Tensor] = {}

    def run(self) -> None:
        """Train to the end and write the tuned expert."""
        self._resume()
        with self.world.own_randomness():
            while self.step < self.total_steps:
                epoch = self.step // self.steps_an_epoch
                self._train_epoch(epoch)
                self._close_epoch(epoch)
        if self.world.leads:
            self._write_tuned()
        self.world.wait()

    def _train_epoch(self, epoch: int) -> None:
        self.network.train()
        for rows in self._steps(epoch)[self.step % self.steps_an_epoch :]:
            self._set_learning_rates()
            self.world.seed(self.tuning.seed, self.step)  # of dropout
            own = rows[self.world.rank :: self.world.size]
            logits_B = self._logits(own)
            labels_B = self.label[torch.from_numpy(own)].to(self.world.device)
            loss = functional.binary_cross_entropy_with_logits(logits_B, labels_B)
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self.learning, self.tuning.clip)
            self.optimiser.step()
            self.losses.append(loss.detach())
            self.step += 1
            if self.step % self.tuning.checkpoint_steps == 0 and self.step % self.steps_an_epoch:
                self._save()

    @torch.no_grad()
    def _close_epoch(self, epoch: int) -> None:
        self.network.eval()
        logits = [self._logits(rows).cpu() for rows in _cut(self.valid, self.tuning.batch_rows)]
        own = functional.binary_cross_entropy_with_logits(torch.cat(logits), self.label[torch.from_numpy(self.valid)])
        loss = float(self.world.said_by_first(own))
        if not math.isfinite(loss):
            raise TuningDiverged(f"tune {self.spec.name}: validation loss is {loss}; lower tuning.learning_rate")
        self.history.train.append(float(self.world.sum(torch.stack(self.losses).mean())) / self.world.size)
        self.history.valid.append(loss)
        self.losses = []
        if loss <= min(self.history.valid):
            self.history.best = epoch
            self.best = learned_state(self.network)
        self._save()
        if self.world.leads:
            _logger.info("tune %s: epoch %d/%d, valid loss %.4f", self.spec.name, epoch + 1, self.tuning.epochs, loss)

    def _logits(self, rows: np.ndarray) -> Tensor:
        ids_BT, mask_BT = pad([self.ids[row] for row in rows], self.spec.pad_id)
        device = self.world.device
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            logits_B: Tensor = self.network(ids_BT.to(device), mask_BT.to(device))
        return logits_B.float()

    def _steps(self, epoch: int) -> list[np.ndarray]:
        """Rows of every step of an epoch: shuffled, of similar length within a step, the same for every process."""
        random = np.random.default_rng([self.tuning.seed, epoch])
        size = self.tuning.batch_rows
        order = random.permutation(self.train)[: self.steps_an_epoch * size]
        lengths = np.array([len(tokens) for tokens in self.ids])
        steps = []
        for piece in _cut(order, size * _SORTED_STEPS):
            steps += list(_cut(piece[np.argsort(lengths[piece], kind="stable")], size))
        return [steps[number] for number in random.permutation(len(steps))]

    def _distribute(self) -> nn.Module:
        if self.world.size == 1 or self.tuning.sharding == "ddp":
            return self.world.distribute(self.model)
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        mesh = init_device_mesh(self.world.device.type, (self.world.size,))
        for block in self.model.blocks():
            fully_shard(block, mesh=mesh)
        fully_shard(self.model, mesh=mesh)  # in place
        return self.model

    def _optimiser(self) -> torch.optim.AdamW:
        named = [(name, weight) for name, weight in self.model.named_parameters() if weight.requires_grad]
        adapters = [weight for name, weight in named if "lora_" in name]
        head = [weight for name, weight in named if "lora_" not in name]
        return torch.optim.AdamW(
            [
                {"params": adapters, "lr": self.tuning.learning_rate, "weight_decay": self.tuning.weight_decay},
                {"params": head, "lr": self.tuning.head_learning_rate, "weight_decay": 0.0},
            ],
            fused=True if self.world.device.type == "cuda" else None,
        )

    def _set_learning_rates(self) -> None:
        """Linear warm-up, then a cosine to zero, by the step alone: a resumed run needs no schedule's state.

        transformers' schedule of this shape gives the first step a rate of 0 and would shift the warm-up by a step.
        """
        warm = max(1, round(self.tuning.warmup * self.total_steps))
        if self.step < warm:
            share = (self.step + 1) / warm
        else:
            share = 0.5 * (1 + math.cos(math.pi * (self.step - warm) / max(1, self.total_steps - warm)))
        peaks = (self.tuning.learning_rate, self.tuning.head_learning_rate)
        for group, peak in zip(self.optimiser.param_groups, peaks, strict=True):
            group["lr"] = peak * share

    def _save(self) -> None:
        facts = {
            "job": self.identity,
            "step": str(self.step),
            "history": json.dumps(asdict(self.history)),
            "losses": json.dumps(torch.stack(self.losses).tolist() if self.losses else []),
        }
        writes = self.world.leads
        save_checkpoint(self.job.path / CHECKPOINT, self.network, self.optimiser, self.best, facts, writes)
        if writes:
            self.job.keep(CHECKPOINT)

    def _resume(self) -> None:
        """Take up the checkpoint, if there is one of this very job."""
        path = self.job.path / CHECKPOINT
        if not path.is_file():
            return
        if read_facts(path)["job"] != self.identity:
            _logger.warning("tune %s: the checkpoint is another job's and is not taken up", self.spec.name)
            return
        checkpoint = load_checkpoint(path, self.network, self.optimiser)
        self.best = checkpoint.best
        self.step = int(checkpoint.facts["step"])
        self.history = _History(**json.loads(checkpoint.facts["history"]))
        self.losses = [torch.tensor(loss, device=self.world.device) for loss in json.loads(checkpoint.facts["losses"])]
        if self.world.leads:
            _logger.info("tune %s: going on at step %d of %d", self.spec.name, self.step, self.total_steps)

    def _write_tuned(self) -> None:
        """The best epoch's adapters, multiplied into a fresh trunk on the CPU."""
        model = new_tuned_expert(self.folder, self.spec, self.tuning)
        unknown = model.load_state_dict(self.best, strict=False).unexpected_keys
        assert not unknown, unknown
        with atomic_directory(self.job.path / TUNED) as staging:
            _save_trunk(merged_trunk(model), self.folder, staging)
            write_json(staging / HISTORY_FILE, {"tuning": asdict(self.tuning), "history": asdict(self.history)})
            for path in staging.iterdir():
                path.chmod(0o444)  # run directories link to these files
        self.job.keep_folder(TUNED, HISTORY_FILE)


@dataclass
class _History:
    """Mean training loss and validation loss per epoch, and the best epoch (-1 before the first has ended)."""

    train: list[float]
    valid: list[float]
    best: int


def _save_trunk(trunk: Any, source: Path, folder: Path) -> None:
    """config.json and model.safetensors (float32) of the trunk, and the tokenizer and licences of the expert's own."""
    trunk.save_pretrained(folder)
    stored = {"config.json", "expert.json", *(path.name for path in source.glob("*.safetensors*"))}
    for path in source.iterdir():
        if path.name not in stored:
            shutil.copyfile(path, folder / path.name)


def _cut(rows: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def main() -> None:
    """Run the job that the command line names."""
    configure()
    with processes() as world:
        tune_job(open_job(sys.argv[1], world), world)


if __name__ == "__main__":
    main()
