"""A training in pods of its own: a TrainJob of Kubeflow Trainer, whose pods run the program that torchrun runs here.

A TrainJob bears the name of its job's place: whoever asks for the same training meanwhile waits for the same one, and a
step that was stopped finds it again. Kueue, or a node that goes, may take its pods away: they come again and go on at
the job's checkpoint. One that is done is removed, since the job holds what it made; one that failed stays to be looked
at, until the next attempt.

Kubeflow's SDK makes, finds and removes it. Its conditions are read beside it: the SDK's own type has no room for why a
TrainJob waits or failed.
"""

import hashlib
import os
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from kubeflow.trainer import CustomTrainerContainer, TrainerClient
from kubeflow.trainer.constants import constants
from kubeflow.trainer.options import (
    ContainerPatch,
    JobSetSpecPatch,
    JobSetTemplatePatch,
    JobSpecPatch,
    JobTemplatePatch,
    Labels,
    Name,
    PodSpecPatch,
    PodTemplatePatch,
    ReplicatedJobPatch,
    RuntimePatch,
    TrainerArgs,
    TrainerCommand,
    TrainingRuntimeSpecPatch,
)
from kubernetes import config
from urllib3.exceptions import HTTPError

from components.contracts.errors import BadInput
from components.contracts.locations import CLAIMS, claim_of
from components.contracts.tools.api_server import ClusterObject, Json, reason, status_of
from components.contracts.tools.device import GPUS_WANTED
from components.contracts.tools.log import get_logger
from components.contracts.training.config import STEP_IMAGE, TrainingConfig, TrainJobConfig
from components.contracts.training.failures import TrainingFailed

QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
_NODE = "node"
_logger = get_logger(__name__)


def run_train_job(program: Sequence[str], training: TrainingConfig, asked: TrainJobConfig) -> None:
    """Train a job by a TrainJob: take part in the one that there is, or make one; return when it is complete.

    Args:
        program: module, the job's location, and further arguments.
        training: by how many processes, and where jobs are kept.
        asked: the TrainJob's pods.

    Raises:
        TrainingFailed: the TrainJob failed.
        ClusterSilent: the API server stayed away for long, or somebody removed the TrainJob.
        BadInput: no cluster, no image, or what the API server refuses.
    """
    image = os.environ.get(STEP_IMAGE)
    if not image:
        raise BadInput(
            f"training.train_job: {STEP_IMAGE} is not set; `archipelago compile` sets it for steps that train"
        )
    _, location, *_ = program
    kind = location.split("/")[-2]
    job = _TrainJob(f"archipelago-{kind}-{hashlib.sha256(location.encode()).hexdigest()[:16]}", location)
    found = job.object.read()
    if found and _outcome(found):  # an attempt before; what it made, if anything, is not there
        job.object.remove()
    if job.create(image, program, training, asked):
        _logger.info("TrainJob %s: made, for %d processes on %d nodes", job.name, training.processes, asked.nodes)
    else:
        _logger.info("TrainJob %s: is there already, waiting for it", job.name)
    job.object.wait(job.look)
    job.object.remove()


class _TrainJob:
    """One TrainJob by its name, there or not."""

    def __init__(self, name: str, location: str) -> None:
        try:
            self._trainer = TrainerClient()
        except config.ConfigException as error:
            raise BadInput(f"training.train_job: no access to a cluster ({error})") from error
        self.name = name
        self.object = ClusterObject(
            constants.TRAINJOB_KIND,
            constants.GROUP,
            constants.VERSION,
            constants.TRAINJOB_PLURAL,
            self._trainer.backend.namespace,
            name,
            about=f"job: {location}",
            hint="manifests/training",
        )
        self._first, self._shown, self._unread = "", 0, ""

    def create(self, image: str, program: Sequence[str], training: TrainingConfig, asked: TrainJobConfig) -> bool:
        """Make it; False where it is there."""
        each = training.processes // asked.nodes
        resources = {"cpu": asked.cpu, "memory": asked.memory} | ({asked.gpu: str(asked.gpus)} if asked.gpus else {})
        pods = CustomTrainerContainer(
            image, asked.nodes, resources, {GPUS_WANTED: str(asked.gpus)} if asked.gpus else None
        )
        options = [
            Name(self.name),
            TrainerCommand(["torchrun"]),
            TrainerArgs([f"--nproc-per-node={each}", "-m", *program]),
        ]
        options += [Labels({QUEUE_LABEL: asked.queue})] if asked.queue else []
        options += [_mounted(claim)] if (claim := claim_of(training.folder)) else []
        with self.object.asking("make"):
            try:
                self._trainer.train(asked.runtime, trainer=pods, options=options)
            except RuntimeError as error:
                if status_of(error) == HTTPStatus.CONFLICT:
                    return False
                raise
        return True

    def look(self, found: Json) -> str | None:
        """What it waits for, or how much of it runs; None when it is complete. Its first pod's new lines are logged."""
        pods, end = self._pods(), _outcome(found)
        if end == constants.TRAINJOB_COMPLETE:
            return None
        if end:
            raise TrainingFailed(f"{self.object}: failed: {_condition(found, end).get('message', '')}")
        suspended = _condition(found, "Suspended")
        if suspended.get("status") == "True":
            queue = found["metadata"].get("labels", {}).get(QUEUE_LABEL)
            return f"waits in queue {queue}" if queue else f"is suspended: {suspended.get('message', '')}"
        running = sum(pod.status == constants.TRAINJOB_RUNNING for pod in pods)
        return f"{running} of {found['spec']['trainer'].get('numNodes', 1)} nodes run"

    def _pods(self) -> list[Any]:
        try:
            pods = list(self._trainer.get_job(self.name).steps)
            first = next((pod.pod_name for pod in pods if pod.name == f"{_NODE}-0"), "")
            if first != self._first:
                self._first, self._shown = first, 0
            lines = list(self._trainer.get_job_logs(self.name))
        except (RuntimeError, TimeoutError, HTTPError) as error:
            before, self._unread = self._unread, reason(error)
            if self._unread != before:
                _logger.info("TrainJob %s: its pods can't be read now (%s)", self.name, self._unread)
            return []
        for line in lines[self._shown :]:
            _logger.info("%s | %s", _NODE, line)
        self._shown = max(self._shown, len(lines))
        return pods


def _mounted(claim: str) -> RuntimePatch:
    """The patch by which a runtime's pods have a claim where every step finds it."""
    volume = {"name": "jobs", "persistentVolumeClaim": {"claimName": claim}}
    node = ContainerPatch(_NODE, volume_mounts=[{"name": "jobs", "mountPath": str(CLAIMS / claim)}])
    pod = PodTemplatePatch(spec=PodSpecPatch(volumes=[volume], containers=[node]))
    job = ReplicatedJobPatch(_NODE, JobTemplatePatch(spec=JobSpecPatch(pod)))
    return RuntimePatch(TrainingRuntimeSpecPatch(JobSetTemplatePatch(spec=JobSetSpecPatch([job]))))


def _condition(found: Json, kind: str) -> Json:
    conditions = found.get("status", {}).get("conditions") or []
    return next((dict(each) for each in conditions if each["type"] == kind), {})


def _outcome(found: Json) -> str | None:
    ends = (constants.TRAINJOB_COMPLETE, constants.TRAINJOB_FAILED)
    return next((end for end in ends if _condition(found, end).get("status") == "True"), None)
