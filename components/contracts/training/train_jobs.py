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
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from components.contracts.errors import ArchipelagoError, BadInput
from components.contracts.locations import CLAIMS, claim_of
from components.contracts.tools.api_server import reason
from components.contracts.tools.device import GPUS_WANTED
from components.contracts.tools.log import get_logger
from components.contracts.training.config import STEP_IMAGE, TrainingConfig, TrainJobConfig
from components.contracts.training.failures import TrainingFailed

QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
POLL_S = 10.0
# How long an API server may be away before a step gives up a training that may go on without it.
SILENCE_S = 600.0
_TIMEOUT_S = 15
_NODE = "node"
# What an API server answers when it is asked too much, restarts, or stands behind a proxy without it.
_LATER = {
    HTTPStatus.TOO_MANY_REQUESTS,
    *(status for status in HTTPStatus if status >= HTTPStatus.INTERNAL_SERVER_ERROR),
}
_KIND = {"group": constants.GROUP, "version": constants.VERSION, "plural": constants.TRAINJOB_PLURAL}
_logger = get_logger(__name__)


def run_train_job(program: Sequence[str], training: TrainingConfig, asked: TrainJobConfig) -> None:
    """Train a job by a TrainJob: take part in the one that there is, or make one; return when it is complete.

    Args:
        program: module, the job's location, and further arguments.
        training: by how many processes, and where jobs are kept.
        asked: the TrainJob's pods.

    Raises:
        TrainingFailed: the TrainJob failed, or the API server stayed away for long; says what was said last.
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
    if job.outcome() is not None:  # an attempt before; what it made, if anything, is not there
        job.remove()
    if job.create(image, program, training, asked):
        _logger.info("TrainJob %s: made, for %d processes on %d nodes", job.name, training.processes, asked.nodes)
    else:
        _logger.info("TrainJob %s: is there already, waiting for it", job.name)
    job.wait()
    job.remove()


class _TrainJob:
    """One TrainJob by its name, there or not."""

    def __init__(self, name: str, location: str) -> None:
        self.name, self._location = name, location
        try:
            self._trainer = TrainerClient()
        except config.ConfigException as error:
            raise BadInput(f"training.train_job: no access to a cluster ({error})") from error
        self._objects = client.CustomObjectsApi()
        self._namespace = self._trainer.backend.namespace
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
        with self._asking("make"):
            try:
                self._trainer.train(asked.runtime, trainer=pods, options=options)
            except RuntimeError as error:
                if _status(error) == HTTPStatus.CONFLICT:
                    return False
                raise
        return True

    def outcome(self) -> str | None:
        """Complete, Failed, or None where it has not come to an end or is not there."""
        found = self._read()
        return _outcome(found) if found else None

    def wait(self) -> None:
        """Return when it is complete; what it waits for and what its first pod says is logged meanwhile."""
        said, heard = "", time.monotonic()
        while True:
            try:
                found, heard = self._read(), time.monotonic()
            except _AwayError as error:
                if time.monotonic() - heard > SILENCE_S:
                    raise TrainingFailed(f"{error}; it may go on without this step") from error
                time.sleep(POLL_S)
                continue
            if found is None:
                raise TrainingFailed(f"{self._what}: somebody removed it")
            pods, end = self._pods(), _outcome(found)
            if end == constants.TRAINJOB_COMPLETE:
                return
            if end:
                raise TrainingFailed(
                    f"{self._what}: failed: {_condition(found, end).get('message') or 'no reason given'}"
                )
            before, said = said, _state(found, pods)
            if said != before:
                _logger.info("TrainJob %s: %s", self.name, said)
            time.sleep(POLL_S)

    def remove(self) -> None:
        """Remove it and wait until it is gone; one that is not there is no error."""
        with self._asking("remove"):
            try:
                self._trainer.delete_job(self.name)
            except RuntimeError as error:
                if _status(error) != HTTPStatus.NOT_FOUND:
                    raise
        until = time.monotonic() + SILENCE_S
        while self._read() is not None:
            if time.monotonic() > until:
                raise TrainingFailed(f"{self._what}: is being removed, and does not go")
            time.sleep(min(POLL_S, 1.0))

    def _pods(self) -> list[Any]:
        """Its pods; what the first one has said since the last look is logged. Empty where they can't be read now."""
        try:
            pods = list(self._trainer.get_job(self.name).steps)
            first = next((pod.pod_name for pod in pods if pod.name == f"{_NODE}-0"), "")
            if first != self._first:
                self._first, self._shown = first, 0
            lines = list(self._trainer.get_job_logs(self.name))
        except (RuntimeError, TimeoutError, HTTPError) as error:
            before, self._unread = self._unread, _cause(error)
            if self._unread != before:
                _logger.info("TrainJob %s: its pods can't be read now (%s)", self.name, self._unread)
            return []
        for line in lines[self._shown :]:
            _logger.info("%s | %s", _NODE, line)
        self._shown = max(self._shown, len(lines))
        return pods

    def _read(self) -> dict[str, Any] | None:
        """The TrainJob; None where it is not there."""
        with self._asking("read"):
            try:
                found = self._objects.get_namespaced_custom_object(
                    namespace=self._namespace, name=self.name, _request_timeout=_TIMEOUT_S, **_KIND
                )
            except ApiException as error:
                if error.status == HTTPStatus.NOT_FOUND:
                    return None
                raise
        return dict(found)

    @property
    def _what(self) -> str:
        return f"TrainJob {self._namespace}/{self.name} (job: {self._location})"

    @contextmanager
    def _asking(self, verb: str) -> Iterator[None]:
        """What the API server refuses as an error of ours, in one line: asked wrongly, or it can't answer now."""
        try:
            yield
        except (ApiException, RuntimeError, TimeoutError, ValueError, HTTPError) as error:
            status = _status(error)
            if status in _LATER or (status is None and not isinstance(error, ValueError)):
                raise _AwayError(f"{self._what}: can't {verb} it now: {_cause(error)}") from error
            raise BadInput(f"{self._what}: can't {verb} it: {_cause(error)} (see manifests/training)") from error


class _AwayError(ArchipelagoError):
    """The API server does not answer, or not now."""


def _mounted(claim: str) -> RuntimePatch:
    """The patch by which a runtime's pods have a claim where every step finds it."""
    volume = {"name": "jobs", "persistentVolumeClaim": {"claimName": claim}}
    node = ContainerPatch(_NODE, volume_mounts=[{"name": "jobs", "mountPath": str(CLAIMS / claim)}])
    pod = PodTemplatePatch(spec=PodSpecPatch(volumes=[volume], containers=[node]))
    job = ReplicatedJobPatch(_NODE, JobTemplatePatch(spec=JobSpecPatch(pod)))
    return RuntimePatch(TrainingRuntimeSpecPatch(JobSetTemplatePatch(spec=JobSetSpecPatch([job]))))


def _state(found: dict[str, Any], pods: Sequence[Any]) -> str:
    """What it waits for, or how much of it runs."""
    suspended = _condition(found, "Suspended")
    if suspended.get("status") == "True":
        queue = found["metadata"].get("labels", {}).get(QUEUE_LABEL)
        return f"waits in queue {queue}" if queue else f"is suspended: {suspended.get('message', '')}"
    running = sum(pod.status == constants.TRAINJOB_RUNNING for pod in pods)
    return f"{running} of {found['spec']['trainer'].get('numNodes', 1)} nodes run"


def _condition(found: dict[str, Any], kind: str) -> dict[str, Any]:
    conditions = found.get("status", {}).get("conditions") or []
    return next((dict(each) for each in conditions if each["type"] == kind), {})


def _outcome(found: dict[str, Any]) -> str | None:
    ends = (constants.TRAINJOB_COMPLETE, constants.TRAINJOB_FAILED)
    return next((end for end in ends if _condition(found, end).get("status") == "True"), None)


def _status(error: BaseException) -> int | None:
    """The API server's status; None where it did not answer."""
    cause = error if isinstance(error, ApiException) else error.__cause__
    return cause.status or None if isinstance(cause, ApiException) else None


def _cause(error: BaseException) -> str:
    """What the API server said, or the SDK where that was not asked."""
    cause = error.__cause__ or error
    return reason(cause) if isinstance(cause, ApiException) else " ".join(str(cause).split())
