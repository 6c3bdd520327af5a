"""A job: a folder that says what to do, mostly to train, keeps its checkpoints while it runs, and then its result.

A job lies where the profile says (`TrainingConfig.folder`), under its own digest: the same training finds its own
checkpoint, however the last attempt ended. A module that trains jobs of a kind is a program, too: `python -m MODULE
LOCATION`, as one process, or as several under torchrun, here or in a TrainJob's pods.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from components.contracts.locations import in_store, local_copy, put, upload
from components.contracts.tools.cache import cache_folder
from components.contracts.tools.lock import alone_in
from components.contracts.tools.manifest import file_digest
from components.contracts.training.config import TrainingConfig
from components.contracts.training.failures import TrainingFailed

if TYPE_CHECKING:
    from components.contracts.training.processes import World

JOB_FILE = "job.json"


@dataclass(frozen=True)
class JobFolder:
    """A job as one process sees it.

    Attributes:
        path: its folder on this machine.
        location: where it is kept; where that is an object store, `path` is a copy of it.
    """

    path: Path
    location: str

    def keep(self, name: str) -> None:
        """See that a file outlasts this machine; one process calls this for all."""
        if in_store(self.location):
            put(self.path / name, f"{self.location}/{name}")

    def keep_folder(self, name: str, last: str) -> None:
        """The same for a folder that is complete: where its file `last` is kept, so are all others."""
        if in_store(self.location):
            upload(self.path / name, f"{self.location}/{name}", last)

    def discard(self) -> None:
        """Remove the folder: nothing of it is needed again. What an object store holds is left to its own rules."""
        shutil.rmtree(self.path)


def open_job(location: str, world: World | None = None) -> JobFolder:
    """The job as it is kept; processes of one machine share one copy where it lies in an object store."""
    return JobFolder(shared_folder(location, world), location)


def share(folder: Path, name: str, last: str, training: TrainingConfig) -> str:
    """Where all who train find a folder that this machine has: there, or with pods of their own, where jobs are kept.

    Args:
        folder: that does not change.
        name: of its content, such as "experts/<digest>".
        last: one of its files, which tells that the others are there.
        training: where jobs are kept, and who trains.
    """
    if training.train_job is None:
        return str(folder.resolve())
    location = f"{training.folder.rstrip('/')}/{name}"
    if in_store(location):
        upload(folder, location, last)
    elif not (target := _here(location)).is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".new-") as scratch:
            _settle(shutil.copytree(folder, Path(scratch) / "copy"), target, last)
    return location


def shared_folder(location: str, world: World | None = None) -> Path:
    """The path of what lies at a location; of an object store's, that of a copy that a machine's processes share."""
    path = _here(location)
    if in_store(location) and (world is None or world.leads_machine):
        local_copy(location, path.parent)
    if world:
        world.wait()
    return path


def run_job(
    kind: str,
    write: Callable[[Path], None],
    module: str,
    here: Callable[[JobFolder], None],
    is_done: Callable[[Path], bool],
    training: TrainingConfig,
    arguments: Sequence[str] = (),
) -> JobFolder:
    """Train a job to its end, by as many processes as configured; who asks for the same one meanwhile waits.

    One that is done is not begun again.

    Args:
        kind: the folder that it lies in, such as "tuning".
        write: fills a new folder; what it says in job.json is the job's identity.
        module: what trains it as a program.
        here: trains it in this process.
        is_done: whether a job's folder holds its whole result.
        training: how many processes train, where, and where the job is kept.
        arguments: the program's, after the job's location.

    Raises:
        TrainingFailed: one of several processes ended with an error, or their TrainJob did.
        BadInput: the cluster refuses a TrainJob.
    """

    def work(job: JobFolder) -> JobFolder:
        return _train(job, [module, job.location, *arguments], here, training)

    return finished_job(kind, training.folder, write, work, is_done)


def finished_job(
    kind: str,
    folder: str,
    write: Callable[[Path], None],
    work: Callable[[JobFolder], JobFolder],
    is_done: Callable[[Path], bool],
) -> JobFolder:
    """A job with its result: `work` leaves that in its folder, unless it is there; who asks for the same one waits.

    Args:
        kind: the folder that it lies in.
        folder: the location of all kinds; empty is the cache.
        write: fills a new folder; what it says in job.json is the job's identity.
        work: does the job, and returns it as it is then.
        is_done: whether a job's folder holds its whole result.
    """
    while True:
        job = open_job(_place(kind, write, folder))
        try:
            with alone_in(_lock(job.location)):
                if not (job.path / JOB_FILE).is_file():
                    continue  # whoever held it has discarded it meanwhile
                if not is_done(job.path):
                    job = work(job)
                if not is_done(job.path):
                    raise TrainingFailed(f"{kind} ended without an error, and without a result at {job.location}")
                return job
        except FileNotFoundError:
            if job.path.exists():
                raise


def _train(
    job: JobFolder, program: Sequence[str], here: Callable[[JobFolder], None], training: TrainingConfig
) -> JobFolder:
    """The job after its training, in pods of its own, by processes of this machine, or by this one."""
    if training.train_job is not None:
        from components.contracts.training.train_jobs import run_train_job  # Kubeflow's client, for whom it is asked

        run_train_job(program, training, training.train_job)
    elif training.processes > 1:
        _torchrun(program, training.processes)
    else:
        here(job)
        return job
    return open_job(job.location)


def _torchrun(program: Sequence[str], processes: int) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    done = subprocess.run([*command, "-m", *program], check=False)
    if done.returncode:
        module, location = program[:2]
        raise TrainingFailed(f"{module} with {processes} processes ended with code {done.returncode} (job: {location})")


def _place(kind: str, write: Callable[[Path], None], folder: str) -> str:
    """The location of a job; one that is there already, with its checkpoint, is kept."""
    root = f"{folder.rstrip('/') or cache_folder()}/{kind}"
    here = _here(root)
    here.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=here, prefix=".new-") as scratch:
        staging = Path(scratch) / "job"
        staging.mkdir()
        write(staging)
        name = file_digest(staging / JOB_FILE)[:24]
        if in_store(root):
            upload(staging, f"{root}/{name}", JOB_FILE)
            return f"{root}/{name}"
        _settle(staging, here / name, JOB_FILE)
    return f"{root}/{name}"


def _lock(location: str) -> Path:
    """What processes of this machine hold while they do a job: here, since a claim's file system may know no locks."""
    folder = cache_folder() / "locks" / hashlib.sha256(location.encode()).hexdigest()[:24]
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _settle(staging: Path, target: Path, marker: str) -> None:
    """Give a folder its place, whole; one that is there already is the same, and stays."""
    try:
        staging.rename(target)
    except OSError:
        if not (target / marker).is_file():
            raise


def _here(location: str) -> Path:
    """A mounted location's own path; for an object store's, the place of its copy in the cache."""
    if not in_store(location):
        return local_copy(location, Path())
    return cache_folder() / "jobs" / location.partition("://")[2]
