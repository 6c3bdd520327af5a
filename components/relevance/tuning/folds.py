"""Tuned experts of a log: one of all judged pairs, to be released, and one per fold, which never saw its queries."""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from components.contracts.errors import ArchipelagoError
from components.contracts.tools.cache import cache_folder
from components.contracts.tools.lock import alone_in
from components.contracts.tools.log import get_logger
from components.contracts.tools.manifest import file_digest, tree_digest
from components.relevance.config import ExpertConfig, RelevanceConfig
from components.relevance.encoding.texts import Pair
from components.relevance.experts.weights import expert_spec, prepare_expert
from components.relevance.judgments.judged import training_rows
from components.relevance.model.spec import ExpertSpec, TuningSpec
from components.relevance.tuning.job import JOB_FILE, TUNED, run_job, write_job

_logger = get_logger(__name__)


class TuningFailed(ArchipelagoError):
    """One of the processes that tuned an expert ended with an error; its own message stands above."""


def tune(
    expert: ExpertConfig, judged: pd.DataFrame, pairs: Sequence[Pair], config: RelevanceConfig, fold: int | None
) -> tuple[Path, ExpertSpec]:
    """Folder and spec of an expert tuned outside a fold, or on all judged pairs (None).

    A tuning that was interrupted, or done before on the same rows, is taken up from the cache.

    Args:
        expert: its `tuning` says how.
        judged: query and label of n pairs.
        pairs: the same, normalised, with their titles.
        config: folds, validation rows and processes.
        fold: the fold whose queries are left out.

    Raises:
        TuningFailed: one of several processes ended with an error.
    """
    assert expert.tuning is not None
    train, valid = training_rows(judged["query"], config, fold)
    rows = np.sort(np.concatenate([train, valid]))
    label = judged["label"].to_numpy()[rows]
    spec = expert_spec(expert)
    chosen = [pairs[row] for row in rows]
    job = _job(prepare_expert(expert), spec, expert.tuning, chosen, label, np.isin(rows, valid))
    _logger.info("tune %s %s: %d pairs", spec.name, "on all" if fold is None else f"outside fold {fold}", len(train))
    with alone_in(job):
        _run(job, config.tune_processes)
    source = f"{expert.source}, tuned on the judgments"
    return job / TUNED, replace(spec, source=source, digest=tree_digest(job / TUNED))


def _job(
    folder: Path, spec: ExpertSpec, tuning: TuningSpec, pairs: Sequence[Pair], label: np.ndarray, valid: np.ndarray
) -> Path:
    """The job's own folder in the cache, by what it is; one that is there already, with its checkpoint, is kept."""
    root = cache_folder() / "tuning"
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root, prefix=".new-") as scratch:
        staging = Path(scratch) / "job"
        write_job(staging, folder, spec, tuning, pairs, label, valid)
        job = root / file_digest(staging / JOB_FILE)[:24]
        try:
            staging.rename(job)
        except OSError:  # the same job is there
            if not (job / JOB_FILE).is_file():
                raise
    return job


def _run(job: Path, processes: int) -> None:
    if processes == 1:
        run_job(job)
        return
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    done = subprocess.run([*command, "-m", "components.relevance.tuning.job", str(job)], check=False)
    if done.returncode:
        raise TuningFailed(f"tuning with {processes} processes ended with code {done.returncode} (job: {job})")
