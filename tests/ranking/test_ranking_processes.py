"""Fitting by several processes, and going on after an end that came too early."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem
from pyarrow import fs
from ranking_world import MARKETS, random_features, write_world
from safetensors.torch import load_file

from components.contracts import locations
from components.contracts.tools.manifest import read_manifest
from components.contracts.training.config import TrainingConfig
from components.contracts.training.jobs import TrainingFailed
from components.ranking import fitting
from components.ranking.config import RankingConfig
from components.ranking.dataset import TrainingSet, read_training_set
from components.ranking.job import fitted_variants
from components.ranking.model.rankers import DOMAIN_COLUMN, build_ranker, domain_loss
from components.ranking.model.spec import RankerSpec
from components.ranking.train import train

SMALL = {"embedding_dim": 4, "token_width": 8, "gfa_rank": 4, "gfa_width": 8, "sample_width": 8, "expert_width": 8}
CONFIG = RankingConfig.model_validate(
    {
        "variants": ("dlrm_exposed", "hhsft_es3"),
        "epochs": 3,
        "batch_size": 128,
        "checkpoint_steps": 5,
        "bootstrap": 0,
        "model": SMALL,
    }
)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Bits depend on the number of threads, and the tiny steps here are faster without."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_world(tmp_path_factory.mktemp("world"), requests=300)


@pytest.fixture(scope="module")
def data(world: tuple[Path, Path]) -> TrainingSet:
    return read_training_set(world[0], MARKETS)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ARCHIPELAGO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def fitted(
    world: tuple[Path, Path], data: TrainingSet, config: RankingConfig = CONFIG, **training: Any
) -> dict[str, fitting.Fitted]:
    with fitted_variants(world[0], data, MARKETS, config, TrainingConfig(**training)) as variants:
        return dict(variants)


@pytest.fixture(scope="module")
def whole(world: tuple[Path, Path], data: TrainingSet, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Fits that nothing interrupted."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARCHIPELAGO_CACHE", str(tmp_path_factory.mktemp("whole")))
        return fitted(world, data)


def assert_equal_to_the_bit(found: dict[str, fitting.Fitted], expected: dict[str, fitting.Fitted]) -> None:
    assert found.keys() == expected.keys()
    for variant, one in found.items():
        other = expected[variant]
        assert (one.curve, one.best_epoch) == (other.curve, other.best_epoch)
        weights = other.ranker.state_dict()
        assert all(torch.equal(tensor, weights[name]) for name, tensor in one.ranker.state_dict().items())


class Interrupted(Exception):
    pass


def interrupt(monkeypatch: pytest.MonkeyPatch, variant: str, at: int) -> list[int]:
    """Let fitting end before step `at` of a variant, once; the steps that are done, of all attempts."""
    steps: list[int] = []
    step = fitting._Fit._step

    def watched(self: fitting._Fit, batch: torch.Tensor) -> None:
        if self.variant == variant and self.progress.step == at and at not in steps:
            steps.append(at)
            raise Interrupted
        if self.variant == variant:
            steps.append(self.progress.step)
        step(self, batch)

    monkeypatch.setattr(fitting._Fit, "_step", watched)
    return steps


@pytest.mark.parametrize("at", [3, 7, 17], ids=["before any checkpoint", "in the first epoch", "in the second"])
def test_an_interrupted_fit_goes_on_to_the_same_weights(
    at: int, world: tuple[Path, Path], data: TrainingSet, whole: Any, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    steps = interrupt(monkeypatch, "hhsft_es3", at)
    with pytest.raises(Interrupted):
        fitted(world, data)
    assert list(cache.rglob("dlrm_exposed/ranker.safetensors")), "what was done is kept"
    assert_equal_to_the_bit(fitted(world, data), whole)
    again = steps[steps.index(at) + 1 :]
    assert again[0] == at // CONFIG.checkpoint_steps * CONFIG.checkpoint_steps, "it goes on at the last checkpoint"
    assert not list(cache.rglob("job.json")), "nothing is left of a training that is done"


def test_a_checkpoint_is_not_taken_up_by_another_training(
    world: tuple[Path, Path], data: TrainingSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(monkeypatch, "hhsft_es3", 7)
    with pytest.raises(Interrupted):
        fitted(world, data)
    steps = interrupt(monkeypatch, "hhsft_es3", -1)
    fitted(world, data, CONFIG.model_copy(update={"learning_rate": 1e-3}))
    assert steps[0] == 0


KILLED = """
import os, signal, sys
from pathlib import Path
from components.contracts.training.config import TrainingConfig
from components.ranking import fitting
from components.ranking.config import RankingConfig
from components.ranking.train import train
step = fitting._Fit._step
def deadly(self, batch):
    if self.variant == "hhsft_es3" and self.progress.step == 17:
        os.kill(os.getpid(), signal.SIGKILL)
    step(self, batch)
fitting._Fit._step = deadly
config = RankingConfig.model_validate_json(sys.argv[4])
train(Path(sys.argv[1]), Path(sys.argv[2]), config, Path(sys.argv[3]))
"""


def test_a_killed_training_goes_on_to_the_same_ranker(world: tuple[Path, Path], tmp_path: Path, whole: Any) -> None:
    """kill -9 in the middle of an epoch, then the same step again: the same bits as without."""
    command = [sys.executable, "-c", KILLED, *map(str, world), str(tmp_path / "ranker"), CONFIG.model_dump_json()]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    killed = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    assert not (tmp_path / "ranker").exists()
    train(*world, CONFIG, tmp_path / "ranker")
    found = load_file(tmp_path / "ranker" / "ranker.safetensors")
    expected = whole["hhsft_es3"].ranker.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in found.items())


def test_an_object_stores_checkpoint_outlasts_the_machine(
    world: tuple[Path, Path],
    data: TrainingSet,
    whole: Any,
    tmp_path: Path,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A store has no folders that must be made first.
    files = DirFileSystem(str(tmp_path / "store"), LocalFileSystem(auto_mkdir=True))

    def opened(location: str) -> tuple[fs.FileSystem, str]:
        return fs.PyFileSystem(fs.FSSpecHandler(files)), location.partition("://")[2].rstrip("/")

    monkeypatch.setattr(locations, "_open", opened)
    steps = interrupt(monkeypatch, "hhsft_es3", 17)
    with pytest.raises(Interrupted):
        fitted(world, data, folder="s3://bucket/trainings")
    cache.rename(tmp_path / "lost")
    assert_equal_to_the_bit(fitted(world, data, folder="s3://bucket/trainings/"), whole)
    assert steps.count(0) == 1 and steps[steps.index(17) + 1] == 15
    assert not list(cache.rglob("job.json"))


def test_losses_of_parts_add_up_to_the_batchs_with_their_gradients() -> None:
    torch.manual_seed(0)
    features = random_features(64)
    inputs = [torch.from_numpy(x) for x in (features.numeric, features.categorical, features.sequences)]
    domain = inputs[1][:, DOMAIN_COLUMN]
    domain[:] = torch.where(torch.arange(64) < 61, 0, domain)  # a domain whose rows lie in one part alone
    labels, weights = (torch.rand(64, 2) < 0.3).float(), torch.tensor([1.0, 0.1, 0.2])
    ranker = build_ranker(RankerSpec(id_dropout=0.0, **SMALL))

    def gradients(losses: Callable[[], list[torch.Tensor]]) -> tuple[float, list[torch.Tensor]]:
        ranker.zero_grad()
        parts = losses()
        for part in parts:
            part.backward()
        return float(sum(parts)), [p.grad.clone() for p in ranker.parameters()]

    counts = torch.bincount(domain, minlength=3)
    loss, expected = gradients(lambda: [domain_loss(ranker(*inputs), labels, domain, weights)])
    shares = [slice(rank, None, 3) for rank in range(3)]
    shared, found = gradients(
        lambda: [domain_loss(ranker(*(x[s] for x in inputs)), labels[s], domain[s], weights, counts) for s in shares]
    )
    assert shared == pytest.approx(loss, rel=1e-6)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)


@pytest.mark.slow
def test_two_processes_fit_the_same_rankers_as_one(
    world: tuple[Path, Path], data: TrainingSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With nothing dropped, every step's loss is the same; the last step has fewer rows than there are processes."""
    rows = {variant: len(data.rows("train", variant.partition("_")[2])) for variant in CONFIG.variants}
    size = next(size for size in range(96, 400) if any(count % size == 1 for count in rows.values()))
    even = CONFIG.model_copy(
        update={"batch_size": size, "model": RankerSpec(id_dropout=0.0, **SMALL), "checkpoint_steps": 1000}
    )
    one, two = fitted(world, data, even), fitted(world, data, even, processes=2)
    for variant, alone in one.items():
        together = two[variant]
        assert (alone.processes, together.processes) == (1, 2)
        for name in ("loss", "valid_auc"):
            np.testing.assert_allclose(
                [point[name] for point in together.curve], [point[name] for point in alone.curve], atol=2e-4
            )
        weights = alone.ranker.state_dict()
        for name, tensor in together.ranker.state_dict().items():
            torch.testing.assert_close(tensor, weights[name], atol=5e-3, rtol=1e-2)


@pytest.mark.slow
def test_a_ranker_is_trained_by_as_many_processes_as_configured(world: tuple[Path, Path], tmp_path: Path) -> None:
    train(*world, CONFIG, tmp_path / "ranker", TrainingConfig(processes=2))
    fits = read_manifest(tmp_path / "ranker")["metrics"]["fits"]
    assert {name: facts["processes"] for name, facts in fits.items()} == dict.fromkeys(CONFIG.variants, 2)


def test_processes_that_fail_leave_no_ranker(
    world: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = tmp_path / "python"
    failing.write_text("#!/bin/sh\nexit 7\n")
    failing.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(failing))
    with pytest.raises(TrainingFailed, match=r"components\.ranking\.job with 2 processes ended with code 7 \(job: "):
        train(*world, CONFIG, tmp_path / "ranker", TrainingConfig(processes=2))
    assert not (tmp_path / "ranker").exists()
