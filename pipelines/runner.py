"""Run the training pipeline on this machine through kfp.local, and gather what it leaves."""

import contextlib
import logging
import re
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
from kfp import local

from components.contracts.errors import ArchipelagoError
from components.contracts.mapping import MAPPING
from components.marketplace.logs.contradictions import refuse_many
from components.marketplace.logs.load import check_judgments, check_log
from pipelines.choices import Runner, Source
from pipelines.profile import Profile
from pipelines.step_output import StepOutput
from pipelines.training_pipeline import build_pipeline

# Steps of a refusal, and of servers that a run on this machine has none of.
_ON_CONDITION = {"notify-refusal", "register-release", "deploy-release"}
# Artifact -> step and output; kfp.local keeps RUN/STEP/OUTPUT, however deep a step lies in the pipeline.
ARTIFACTS = {
    "log": "*/log",  # of either source
    "relevance_model": "train-relevance/model",
    "samples": "build-samples/samples",
    "features": "build-features/features",
    "ranker": "train-ranker/model",
    "drift": "measure-drift/drift",
    "verdict": "gate/verdict",
    "release": "build-release/release",
}


@dataclass(frozen=True)
class Run:
    """A finished pipeline run.

    Attributes:
        artifacts: name -> directory; there is no "release" where the quality gate refused one.
        seconds: step -> wall seconds, in the order they ran.
    """

    artifacts: dict[str, Path]
    seconds: dict[str, float]


class StepFailed(ArchipelagoError):
    """A pipeline step failed; the message says which and where its output lies."""


def check_input(
    source: Source, data: Path | None, judgments: Path | None, profile: Profile, as_of: datetime
) -> datetime:
    """Read and check a user's files before anything is started; the end of the data, for windows.

    Raises:
        BadInput: a file breaks the contract.
    """
    if source == "judgments":
        assert judgments is not None
        check_judgments(judgments, profile.markets)
        return as_of
    assert data is not None
    log = check_log(data, judgments, profile.markets, as_of)
    refuse_many(log.dropped, profile.load.max_dropped, str(data))
    return log.end


def run_pipeline(
    source: Source,
    profile: Profile,
    out: Path,
    as_of: datetime,
    data: Path | None = None,
    judgments: Path | None = None,
    champion: Path | None = None,
    runner: Runner = "subprocess",
) -> Run:
    """Run the pipeline of `source` under `out/pipeline`, every step's full output in `out/pipeline.log`.

    `champion` is the folder of the release that is served, with which the gate compares; None compares with none.

    Raises:
        StepFailed: a step failed; the quality gate's refusal is no failure.
    """
    root = out / "pipeline"
    root.mkdir(parents=True)
    # Images run as their own user and write into this folder.
    root.chmod(0o777 if runner == "docker" else 0o755)
    arguments = {"as_of": as_of.isoformat()}
    if source != "simulator":
        arguments |= {"judgments": str(judgments.resolve()) if judgments else ""}
    if source == "log":
        assert data is not None
        arguments |= {"data": str(data.resolve())}
    if champion:
        arguments |= {"champion": str(champion.resolve())}
    inputs = [path for path in (data, judgments, champion) if path]
    if judgments and (mapping := judgments.with_name(MAPPING)).is_file():
        inputs.append(mapping)
    local.init(runner=_runner(runner, inputs), pipeline_root=str(root))
    pipeline: Any = build_pipeline(source, profile)
    steps = steps_here(pipeline)
    with (out / "pipeline.log").open("w", encoding="utf-8") as log, StepOutput(log, len(steps)) as output:
        try:
            with contextlib.redirect_stdout(output), _quiet_root_logger(), warnings.catch_warnings():
                # Images are named by role, not "python"; steps run in this environment all the same.
                warnings.filterwarnings("ignore", message=".*non-Python base image", category=RuntimeWarning)
                pipeline(**arguments)
        except RuntimeError as error:
            step = re.search(r"Inner task failed: \S*?'([\w-]+)'", str(error))
            what = f"step {step[1]} failed" if step else str(error)
            raise StepFailed(f"{what} (output of every step: {out / 'pipeline.log'})") from error
    return Run(_artifacts(root), output.seconds)


@contextlib.contextmanager
def _quiet_root_logger() -> Iterator[None]:
    """KFP logs that it tidied up after it has given the root logger back."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.WARNING)
    try:
        yield
    finally:
        root.setLevel(level)


def _runner(runner: Runner, inputs: list[Path]) -> local.SubprocessRunner | local.DockerRunner:
    if runner == "subprocess":
        return local.SubprocessRunner(use_venv=False)
    from docker.types import Mount

    from pipelines.docker_runner import keep_exit_status

    keep_exit_status()
    mounts = [Mount(str(path.resolve()), str(path.resolve()), type="bind", read_only=True) for path in inputs]
    return local.DockerRunner(mounts=mounts, network_mode="none")


def steps_here(pipeline: Any) -> set[str]:
    """Names of the steps of a run on this machine that ends well."""
    executors = pipeline.pipeline_spec.deployment_spec["executors"]
    return {name.removeprefix("exec-") for name in executors} - _ON_CONDITION


def _artifacts(root: Path) -> dict[str, Path]:
    """Directories of the run's artifacts that were made."""
    found = {name: next(root.glob(f"*/{where}/"), None) for name, where in ARTIFACTS.items()}
    return {name: path for name, path in found.items() if path}


@contextlib.contextmanager
def peak_memory(interval_s: float = 0.5) -> Iterator[list[float]]:
    """Sample this process and its descendants; the yielded list holds the peak of their summed RSS in MB.

    Shared pages count once per process, so the figure is an upper bound.
    """
    peak = [0.0]
    stop = threading.Event()

    def sample() -> None:
        process = psutil.Process()
        while not stop.is_set():
            total = 0
            for member in [process, *process.children(recursive=True)]:
                with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                    total += member.memory_info().rss
            peak[0] = max(peak[0], total / 2**20)
            stop.wait(interval_s)

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        stop.set()
        thread.join()
