"""Submitting the pipeline: compiled, uploaded once a version, started, and watched to its end.

A version is named by the code's version and the digest of the compiled text, so that the same pipeline is uploaded once
and a run's version says exactly what ran.
"""

import hashlib
import importlib.metadata
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from kfp_server_api.models import V2beta1PipelineVersion, V2beta1Run

from components.contracts.errors import ArchipelagoError, BadInput, GateRefused
from components.contracts.tools.log import get_logger
from pipelines.choices import PipelineKind
from pipelines.compile import compile_pipeline
from pipelines.kubeflow.server import PipelineServer, ServerError
from pipelines.profile import Profile
from pipelines.step_output import STEPS

REFUSAL = "notify-refusal"
_ENDED = {"SUCCEEDED", "SKIPPED", "FAILED", "CANCELED"}
_ROOT = Path(__file__).resolve().parents[2]
_EVERY_S = 5.0
_UNHEARD = 60  # times that a server may not answer before nobody waits on
_logger = get_logger(__name__)


class RunFailed(ArchipelagoError):
    """A run on the server ended without success."""


@dataclass(frozen=True)
class Compiled:
    """A compiled pipeline: its text, its name, and the name of its version."""

    text: str
    pipeline: str
    version: str


def compiled(source: PipelineKind, profile: Profile, images: Mapping[str, str]) -> Compiled:
    """Compile a source's pipeline and name its version; BadInput as `compile_pipeline`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pipeline.yaml"
        compile_pipeline(source, profile, path, images)
        text = path.read_text(encoding="utf-8")
    spec = next(yaml.load_all(text, yaml.CSafeLoader))
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    return Compiled(text, spec["pipelineInfo"]["name"], f"{_code_version()}-{digest}")


def check_parameters(pipeline: Compiled, given: Mapping[str, Any], where: str) -> None:
    """Raise BadInput where a parameter is not the pipeline's, or one without a default is missing."""
    known = next(yaml.load_all(pipeline.text, yaml.CSafeLoader))["root"]["inputDefinitions"]["parameters"]
    if unknown := sorted(set(given) - set(known)):
        raise BadInput(f"{where}: no parameter {', '.join(unknown)} (there are {', '.join(sorted(known))})")
    if missing := [name for name, facts in known.items() if not facts.get("isOptional") and name not in given]:
        raise BadInput(f"{where}: parameter {', '.join(missing)} is missing")


def upload(server: PipelineServer, pipeline: Compiled) -> V2beta1PipelineVersion:
    """The pipeline's version on the server; uploaded if it is not there yet."""
    known = server.version(pipeline.pipeline, pipeline.version)
    if known is not None:
        return known
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "pipeline.yaml"
        package.write_text(pipeline.text, encoding="utf-8")
        made = server.upload(package, pipeline.pipeline, pipeline.version, f"code {_code_version()}")
    _logger.info("uploaded %s, version %s", pipeline.pipeline, pipeline.version)
    return made


def wait(server: PipelineServer, run_id: str) -> None:
    """Watch a run to its end; each step that starts or ends is a line.

    Raises:
        GateRefused: the quality gate refused the release.
        RunFailed: the run failed or was cancelled; the message names the step.
        ServerError: the server did not answer for five minutes and more.
    """
    told: dict[str, str] = {}
    unheard = 0
    while True:
        try:
            run, unheard = server.run(run_id), 0
        except ServerError:  # the run goes on without us
            unheard += 1
            if unheard > _UNHEARD:
                raise
            time.sleep(_EVERY_S)
            continue
        for step, state in _steps(run).items():
            if told.get(step) != state:
                told[step] = state
                if state != "PENDING":
                    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {step}: {state.lower()}\n")
        if run.state in _ENDED:
            break
        time.sleep(_EVERY_S)
    if run.state != "SUCCEEDED":
        raise RunFailed(f"run {run_id} {str(run.state).lower()}{_why(run)}; {server.link(run_id)}")
    if told.get(REFUSAL) == "SUCCEEDED":
        raise GateRefused(f"gate refused the release; its verdict is at {server.link(run_id)}")


def _steps(run: V2beta1Run) -> dict[str, str]:
    """Steps of ours (not KFP's drivers and groups), by name, with their state."""
    tasks = run.run_details.task_details if run.run_details else None
    return {task.display_name: str(task.state) for task in tasks or () if task.display_name in STEPS and task.state}


def _why(run: V2beta1Run) -> str:
    tasks = (run.run_details.task_details if run.run_details else None) or ()
    failed = [task for task in tasks if task.state == "FAILED" and task.display_name in STEPS]
    if failed:
        return f" at step {failed[0].display_name}" + (f": {failed[0].error.message}" if failed[0].error else "")
    return f": {run.error.message}" if run.error else ""


def _code_version() -> str:
    """The commit of a checkout, else the installed version."""
    if (_ROOT / ".git").exists():
        described = subprocess.run(
            ["git", "-C", str(_ROOT), "describe", "--always", "--dirty", "--abbrev=12", "--exclude", "*"],
            capture_output=True,
            text=True,
            check=False,
        )
        if described.returncode == 0:
            return described.stdout.strip()
    return importlib.metadata.version("archipelago-search")
