"""A training's job: a folder that says what to train, keeps its checkpoints while it runs, and its result at the end.

A job lies where the profile says (`TrainingConfig.folder`), under its own digest: the same training finds its own
checkpoint, however the last attempt ended. A module that trains jobs of a kind is a program, too: `python -m MODULE
LOCATION`, as one process or as several under torchrun.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from components.contracts.errors import ArchipelagoError
from components.contracts.locations import in_store, local_copy, put, upload
from components.contracts.tools.cache import cache_folder
from components.contracts.tools.lock import alone_in
from components.contracts.tools.manifest import file_digest
from components.contracts.training.config import TrainingConfig

if TYPE_CHECKING:
    from components.contracts.training.processes import World

JOB_FILE = "job.json"


class TrainingFailed(ArchipelagoError):
    """One of the processes that trained a model ended with an error; its own message stands above."""


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
        """See that a file, or a folder that is complete, outlasts this machine; one process calls this for all."""
        if not in_store(self.location):
            return
        kept = self.path / name
        for file in sorted(kept.rglob("*")) if kept.is_dir() else [kept]:
            put(file, f"{self.location}/{file.relative_to(self.path).as_posix()}")

    def discard(self) -> None:
        """Remove the folder: nothing of it is needed again. What an object store holds is left to its own rules."""
        shutil.rmtree(self.path)


def open_job(location: str, world: World | None = None) -> JobFolder:
    """The job as it is kept; processes of one machine share one copy where it lies in an object store."""
    path = _here(location)
    if in_store(location) and (world is None or world.leads_machine):
        local_copy(location, path.parent)
    if world:
        world.wait()
    return JobFolder(path, location)


def run_job(
    kind: str,
    write: Callable[[Path], None],
    module: str,
    here: Callable[[JobFolder], None],
    training: TrainingConfig,
    arguments: Sequence[str] = (),
) -> JobFolder:
    """Train a job to its end, by as many processes as configured; who asks for the same one meanwhile waits.

    Args:
        kind: the folder that it lies in, such as "tuning".
        write: fills a new folder; what it says in job.json is the job's identity.
        module: what trains it as a program.
        here: trains it in this process.
        training: how many processes train, and where the job is kept.
        arguments: the program's, after the job's location.

    Raises:
        TrainingFailed: one of several processes ended with an error.
    """
    while True:
        location = _place(kind, write, training)
        job = open_job(location)
        try:
            with alone_in(job.path):
                if not (job.path / JOB_FILE).is_file():
                    continue  # whoever held it has discarded it meanwhile
                if training.processes == 1:
                    here(job)
                    return job
                _torchrun([module, location, *arguments], training.processes)
                return open_job(location)
        except FileNotFoundError:
            if job.path.exists():
                raise


def _torchrun(program: Sequence[str], processes: int) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    done = subprocess.run([*command, "-m", *program], check=False)
    if done.returncode:
        module, location = program[:2]
        raise TrainingFailed(f"{module} with {processes} processes ended with code {done.returncode} (job: {location})")


def _place(kind: str, write: Callable[[Path], None], training: TrainingConfig) -> str:
    """The location of a job; one that is there already, with its checkpoint, is kept."""
    root = f"{training.folder.rstrip('/') or cache_folder()}/{kind}"
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
        try:
            staging.rename(here / name)
        except OSError:  # the same job is there
            if not (here / name / JOB_FILE).is_file():
                raise
    return f"{root}/{name}"


def _here(location: str) -> Path:
    """A mounted location's own path; for an object store's, the place of its copy in the cache."""
    if not in_store(location):
        return local_copy(location, Path())
    return cache_folder() / "jobs" / location.partition("://")[2]
