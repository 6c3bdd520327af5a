"""Fit a ranker's variants: one process, or several under torchrun, by the same code.

    python -m components.ranking.job JOB auto                                one process, on a GPU where there is one
    torchrun --nproc-per-node 8 -m components.ranking.job JOB auto           eight, which share every batch (DDP)

A job (contracts/training/jobs.py) has job.json and the training set. While it runs it grows a checkpoint of the
variant that is being fitted, which a later call takes up, and `fits/<variant>` of each that is done.
"""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from components.contracts.tools.log import configure
from components.contracts.tools.manifest import (
    atomic_directory,
    input_digest,
    package_versions,
    read_json,
    write_json,
)
from components.contracts.training.config import TrainingConfig
from components.contracts.training.jobs import JOB_FILE, JobFolder, open_job, run_job
from components.contracts.training.processes import World, processes
from components.ranking.config import RankingConfig
from components.ranking.dataset import TrainingSet, read_training_set
from components.ranking.fitting import DeviceFeatures, Fitted, fit
from components.ranking.model.serving import load_ranker, save_ranker

FITS, FIT_FILE = "fits", "fit.json"
_MODULE, _TRAINING_SET = "components.ranking.job", "training_set"
# Part of a job's identity: raise it when fitting changes.
_VERSION = 2


@contextmanager
def fitted_variants(
    training_set: Path,
    data: TrainingSet,
    markets: tuple[str, ...],
    config: RankingConfig,
    training: TrainingConfig,
) -> Iterator[dict[str, Fitted]]:
    """Every variant, fitted; a fit that was interrupted is taken up where its last checkpoint was.

    The job is discarded when the caller is done with them, and kept where it failed.

    Args:
        training_set: folder of the samples.
        data: what it holds.
        markets: the log's, in the order of their codes.
        config: variants and how they are fitted.
        training: by how many processes, where, and where checkpoints are kept.

    Raises:
        TrainingFailed: one of several processes ended with an error, or their TrainJob did.
    """

    def write(job: Path) -> None:
        _copy(training_set, job / _TRAINING_SET)
        content = {
            "version": _VERSION,
            "packages": package_versions(["torch"]),
            "training_set": input_digest(training_set),
            "markets": list(markets),
            "config": config.structure,
        }
        write_json(job / JOB_FILE, content)

    def here(job: JobFolder) -> None:
        with processes(config.device) as world:
            _fit_all(job, data, config, world)

    def is_done(job: Path) -> bool:
        return all(_is_fitted(job, variant) for variant in config.variants)

    job = run_job("ranking", write, _MODULE, here, is_done, training, [config.device])
    yield {variant: _read_fit(job.path / FITS / variant) for variant in config.variants}
    job.discard()


def _fit_all(job: JobFolder, data: TrainingSet, config: RankingConfig, world: World) -> None:
    features = DeviceFeatures.put(data, world.device)
    for variant in config.variants:
        if _is_fitted(job.path, variant):
            continue
        fitted = fit(variant, data, features, config, world, job)
        if world.leads:
            _write_fit(fitted, job.path / FITS / variant)
            job.keep_folder(f"{FITS}/{variant}", FIT_FILE)
    world.wait()


def _is_fitted(job: Path, variant: str) -> bool:
    return (job / FITS / variant / FIT_FILE).is_file()


def _write_fit(fitted: Fitted, folder: Path) -> None:
    with atomic_directory(folder) as staging:
        save_ranker(fitted.ranker, staging)
        facts = {name: value for name, value in vars(fitted).items() if name != "ranker"}
        write_json(staging / FIT_FILE, facts)


def _read_fit(folder: Path) -> Fitted:
    return Fitted(load_ranker(folder).ranker, **read_json(folder / FIT_FILE))


def _copy(source: Path, target: Path) -> None:
    """The files of a folder, which are not stored twice where both lie on one file system."""
    for path in (path for path in source.rglob("*") if path.is_file()):
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, copy)
        except OSError:
            shutil.copyfile(path, copy)


def main() -> None:
    """Fit the variants of the job that the command line names."""
    configure()
    location, device = sys.argv[1:]
    with processes(device) as world:
        job = open_job(location, world)
        content = read_json(job.path / JOB_FILE)
        data = read_training_set(job.path / _TRAINING_SET, tuple(content["markets"]))
        _fit_all(job, data, RankingConfig.of_structure(content["config"]), world)


if __name__ == "__main__":
    main()
