"""A Kubernetes API server with Kubeflow Trainer and Kueue behind it, for one namespace: its pods are processes here.

What counts is what they do in time and whom they let. A TrainJob waits in its queue for some looks, then its pods run
the very command that the TrainJob and the shipped TrainingRuntime lead to, each on a machine of its own (an own cache);
pods that are evicted come again; what the shipped Role doesn't allow is refused, and what the CRD doesn't know.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.loopback import Handler, on_loopback
from tests.manifests.schemas import Schemas
from tests.manifests.trainer import NODE, Json, job_of

ROOT = Path(__file__).resolve().parents[3]
_QUEUE = "kueue.x-k8s.io/queue-name"
_LOOKS = 2


class Refused(Exception):
    """An answer other than 200, as a Kubernetes Status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Running:
    """A TrainJob, its pods by name, and how often they were started."""

    train_job: Json
    waits: int = 0
    attempts: int = 0
    restarts: int = 0
    pods: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    end: str | None = None
    removed: bool = False


@dataclass
class Trainer:
    """What the server holds.

    Attributes:
        manifests: of manifests/training.
        folder: for logs and pods' caches.
        schemas: of the CRDs, where they are at hand.
        variables: that a runtime gives its pods, beside what it says itself.
        stand_in: a command in place of the pods' own.
        away: requests that it answers with 503 first.
        made: every TrainJob that was made.
    """

    manifests: Sequence[Json]
    folder: Path
    schemas: Schemas | None = None
    variables: dict[str, str] = field(default_factory=dict)
    stand_in: Sequence[str] = ()
    away: int = 0
    made: list[Json] = field(default_factory=list)
    running: dict[str, Running] = field(default_factory=dict)
    lock: Any = field(default_factory=threading.Lock)
    url: str = ""

    def __post_init__(self) -> None:
        self.runtime = next(m for m in self.manifests if m["kind"] == "TrainingRuntime")
        self.namespace = self.runtime["metadata"]["namespace"]
        self.rules = next(m for m in self.manifests if m["kind"] == "Role")["rules"]

    def evict(self, name: str) -> None:
        """Kueue takes the pods' nodes away for a while."""
        with self.lock:
            job = self.running[name]
            self._kill(job)
            job.pods, job.waits = {}, 0

    def close(self) -> None:
        """End all pods."""
        for job in self.running.values():
            self._kill(job)

    def answer(self, verb: str, path: str, body: Json) -> Json | str:
        """The answer to a request; Refused where there is none."""
        if path == "/api/v1/namespaces/kubeflow-system/configmaps/kubeflow-trainer-public":
            return {"kind": "ConfigMap", "data": {"kubeflow_trainer_version": "2.3.0"}}  # everybody may read it
        place = re.fullmatch(
            rf"/(?:api|apis/([^/]+))/v1\w*/namespaces/{self.namespace}/(\w+)(?:/([^/]+))?(/log)?", path
        )
        if place is None:
            raise Refused(403, f"{path} is forbidden")
        group, kind, name, log = place[1] or "", place[2], place[3], place[4] or ""
        self._allow({"GET": "get" if name else "list", "POST": "create", "DELETE": "delete"}[verb], group, kind + log)
        if kind == "trainingruntimes":
            if name != self.runtime["metadata"]["name"]:
                raise Refused(404, f'trainingruntimes "{name}" not found')
            return self.runtime
        if kind == "pods":
            return self._log(name) if log else {"kind": "PodList", "apiVersion": "v1", "items": list(self._pods())}
        return {"GET": self._look, "DELETE": self._delete}[verb](name) if name else self._create(body)

    def _allow(self, verb: str, group: str, resource: str) -> None:
        for rule in self.rules:
            if group in rule["apiGroups"] and resource in rule["resources"] and verb in rule["verbs"]:
                return
        raise Refused(403, f"cannot {verb} resource {resource!r} in API group {group!r}")

    def _create(self, body: Json) -> Json:
        name = body["metadata"]["name"]
        if name in self.running:
            raise Refused(409, f'trainjobs "{name}" already exists')
        body["metadata"] |= {"namespace": self.namespace, "creationTimestamp": "2026-01-01T00:00:00Z"}
        if problems := self.schemas.problems(body) if self.schemas else []:
            raise Refused(422, "; ".join(problems))
        self.made.append(body)
        self.running[name] = Running(body)
        return body

    def _delete(self, name: str) -> Json:
        job = self._find(name)
        self._kill(job)
        job.removed = True  # it is gone at the second look
        return {"kind": "Status", "status": "Success"}

    def _look(self, name: str) -> Json:
        job = self._find(name)
        if job.removed:
            del self.running[name]
        elif job.end is None:
            self._tick(job)
        queued = _QUEUE in job.train_job["metadata"].get("labels", {})
        suspended = queued and not job.pods and job.end is None
        conditions = [
            _condition("Suspended", suspended, "TrainJob is suspended" if suspended else "TrainJob is resumed")
        ]
        if job.end:
            message = "jobset failed due to one or more job failures" if job.end == "Failed" else "jobset completed"
            conditions.append(_condition(job.end, True, message))
        return job.train_job | {"status": {"conditions": conditions}}

    def _tick(self, job: Running) -> None:
        if not job.pods:
            job.waits += 1
            if job.waits > _LOOKS:
                self._start(job)
            return
        codes = [pod.poll() for pod in job.pods.values()]
        if all(code == 0 for code in codes):
            job.end = "Complete"
        elif any(codes):
            self._kill(job)
            if job.restarts == self.runtime["spec"]["template"]["spec"]["failurePolicy"]["maxRestarts"]:
                job.end = "Failed"  # its last pods stay
                return
            job.restarts += 1
            job.pods = {}

    def _start(self, job: Running) -> None:
        template = job_of(job.train_job, self.runtime)["spec"]
        (container,) = template["template"]["spec"]["containers"]
        port = _free_port()
        for rank in range(template["completions"]):
            name = f"{job.train_job['metadata']['name']}-{NODE}-0-{rank}-{uuid.uuid4().hex[:5]}"
            machine = self.folder / name
            machine.mkdir(parents=True)
            variables = {each["name"]: each.get("value") or str(rank) for each in container["env"]}
            variables |= {"PET_MASTER_ADDR": "127.0.0.1", "PET_MASTER_PORT": str(port)}  # there are no names here
            variables |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
            variables |= {"HOME": str(machine), "ARCHIPELAGO_CACHE": str(machine / "cache"), "OMP_NUM_THREADS": "1"}
            with (machine / "log").open("wb") as log:
                command = self.stand_in or [*container["command"], *container["args"]]
                pod = subprocess.Popen(command, stdout=log, stderr=log, cwd=machine, env=variables | self.variables)
            job.pods[name] = pod
        job.attempts += 1

    def _kill(self, job: Running) -> None:
        for pod in job.pods.values():
            if pod.poll() is None:
                found = psutil.Process(pod.pid)  # torchrun's workers are of no group of its own
                for process in (found, *found.children(recursive=True)):
                    with suppress(psutil.NoSuchProcess):
                        process.kill()
            pod.wait()

    def _pods(self) -> Iterator[Json]:
        for job in self.running.values():
            template = job_of(job.train_job, self.runtime)["spec"]["template"]
            for rank, (name, pod) in enumerate(job.pods.items()):
                code = pod.poll()
                labels = template["metadata"]["labels"] | {"batch.kubernetes.io/job-completion-index": str(rank)}
                yield {
                    "metadata": {
                        "name": name,
                        "labels": labels,
                        "creationTimestamp": "2026-01-01T00:00:00Z",
                    },
                    "spec": template["spec"],
                    "status": {"phase": "Running" if code is None else "Failed" if code else "Succeeded"},
                }

    def _log(self, pod: str) -> str:
        path = self.folder / pod / "log"
        if not path.is_file():
            raise Refused(404, f'pods "{pod}" not found')
        return path.read_text()

    def _find(self, name: str) -> Running:
        if name not in self.running:
            raise Refused(404, f'trainjobs.trainer.kubeflow.org "{name}" not found')
        return self.running[name]


def _condition(kind: str, holds: bool, message: str) -> Json:
    status = "True" if holds else "False"
    stamp = "2026-01-01T00:00:00Z"
    return {"type": kind, "status": status, "reason": kind, "message": message, "lastTransitionTime": stamp}


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def serving(trainer: Trainer) -> Iterator[Trainer]:
    """Run the server on loopback while the context lasts; its pods end with it."""

    class Answering(Handler):
        def do_GET(self) -> None:
            body: Any = json.loads(self.content() or b"{}")
            try:
                if trainer.away:
                    trainer.away -= 1
                    raise Refused(503, "the server is currently unable to handle the request")
                with trainer.lock:
                    status, content = 200, trainer.answer(self.command, self.path.partition("?")[0], body)
            except Refused as refused:
                status, content = refused.status, {"kind": "Status", "code": refused.status, "message": str(refused)}
            if isinstance(content, str):
                self.send_response(status)
                self.send_header("Content-Length", str(len(content.encode())))
                self.end_headers()
                self.wfile.write(content.encode())
                self.wfile.flush()
            else:
                self.answer(status, content)

        do_POST = do_DELETE = do_GET

    try:
        with on_loopback(Answering) as trainer.url:
            yield trainer
    finally:
        trainer.close()
        shutil.rmtree(trainer.folder, ignore_errors=True)
