"""An HTTP server that behaves as a Kubernetes API server and KServe's controller do, for one InferenceService.

What counts here is what they do in time. A change raises the object's generation at once; the controller takes it up
later; the Deployment's own generation rises before its controller has observed it; old pods answer until new ones are
there and a little longer; and `Ready` is True through all of it. Every look at a Deployment is one tick of that time.
"""

import copy
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.loopback import Handler, on_loopback

Json = dict[str, Any]
NAMESPACE, NAME = "shop", "archipelago"
OBJECT = f"/apis/serving.kserve.io/v1beta1/namespaces/{NAMESPACE}/inferenceservices/{NAME}"


class Refused(Exception):
    """An answer other than 200, as a Kubernetes Status."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason = status, reason


# A rollout, tick by tick: what the Deployment says beyond its spec (behind: its controller has not looked yet), and
# which release the pods answer with.
_STEPS: list[tuple[Json, str]] = [
    ({"taken_up": False}, "old"),
    ({"observed": False}, "old"),
    ({"updated": 0, "replicas": 1, "available": 1}, "old"),
    ({"updated": 1, "replicas": 2, "available": 1}, "old"),
    ({"updated": 1, "replicas": 2, "available": 2}, "old"),
    ({"updated": 1, "replicas": 1, "available": 1}, "old"),  # the Service's endpoints follow later
    ({"updated": 1, "replicas": 1, "available": 1}, "new"),
]


@dataclass
class Workload:
    """A Deployment, its pods and its Service."""

    serves: str | None
    wants: str
    generation: int = 1
    step: int = len(_STEPS) - 1
    stuck_at: int = len(_STEPS) - 1

    def change(self, release: str) -> None:
        if release != self.wants:
            self.wants, self.step = release, 0

    def tick(self) -> None:
        if self.step < min(len(_STEPS) - 1, self.stuck_at):
            self.step += 1
            self.generation += self.step == 1
            if self.step == len(_STEPS) - 1:
                self.serves = self.wants


@dataclass
class Kube:
    """What the server holds and how it misbehaves.

    Attributes:
        admission: looks at old object, new object; a message is a refusal.
        conflicts: how many changes meet an object that the controller has just written.
        stuck_at: the step at which rollouts of this server stop.
        denied: paths (patterns) that this account may not read.
        seen: every request, "PATCH /path".
    """

    service: Json
    admission: Callable[[Json, Json], str | None] = lambda old, new: None
    conflicts: int = 0
    stuck_at: int = len(_STEPS) - 1
    conditions: list[Json] = field(default_factory=list)
    pods: list[Json] = field(default_factory=list)
    denied: str = "never"
    seen: list[str] = field(default_factory=list)
    patches: list[Json] = field(default_factory=list)
    workloads: dict[str, Workload] = field(default_factory=dict)
    url: str = ""

    def __post_init__(self) -> None:
        release = self.service["spec"]["predictor"]["model"]["storageUri"].rpartition("/")[2]
        self.workloads[f"{NAME}-predictor"] = Workload(release, release)

    @property
    def served(self) -> str | None:
        return self.workloads[f"{NAME}-predictor"].serves

    def get(self, path: str) -> Json:
        if re.search(self.denied, path):
            raise Refused(403, "Forbidden", f'User "deployer" cannot get resource at {path}')
        if path == OBJECT:
            return self.service
        if match := re.fullmatch(rf"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/([a-z0-9-]+)", path):
            return self._deployment(match[1])
        if path == f"/api/v1/namespaces/{NAMESPACE}/pods":
            return {"kind": "PodList", "items": self.pods}
        proxy = rf"/api/v1/namespaces/{NAMESPACE}/services/http:([a-z0-9-]+):80/proxy/v2/models/relevance"
        if match := re.fullmatch(proxy, path):
            workload = self.workloads.get(match[1])
            if workload is None or workload.serves is None:
                raise Refused(503, "ServiceUnavailable", "no endpoints available for service")
            return {"name": "relevance", "versions": [workload.serves]}
        raise Refused(404, "NotFound", f"{path} not found")

    def patch(self, path: str, content_type: str, patch: Json) -> Json:
        if path != OBJECT:
            raise Refused(404, "NotFound", f"{path} not found")
        if content_type != "application/merge-patch+json":
            raise Refused(415, "UnsupportedMediaType", f"{content_type} is not supported")
        if self.conflicts:
            self.conflicts -= 1
            self._touch()
        wanted = patch.get("metadata", {}).get("resourceVersion")
        if wanted and wanted != self.service["metadata"]["resourceVersion"]:
            raise Refused(
                409, "Conflict", "the object has been modified; please apply your changes to the latest version"
            )
        new = _merged(copy.deepcopy(self.service), patch)
        if message := self.admission(self.service, new):
            raise Refused(422, "Invalid", message)
        self.patches.append(patch)
        if new["spec"] != self.service["spec"]:
            new["metadata"]["generation"] += 1
        self.service = new
        self._touch()
        self._reconcile()
        return self.service

    def _touch(self) -> None:
        metadata = self.service["metadata"]
        metadata["resourceVersion"] = str(int(metadata["resourceVersion"]) + 1)

    def _reconcile(self) -> None:
        spec = self.service["spec"]
        stable = self.workloads[f"{NAME}-predictor"]
        stable.stuck_at = self.stuck_at
        stable.change(spec["predictor"]["model"]["storageUri"].rpartition("/")[2])
        names = {f"{NAME}-predictor"}
        for canary in spec.get("canary") or []:
            name = f"{NAME}-{canary['predictor']['name']}-predictor"
            release = canary["predictor"]["model"]["storageUri"].rpartition("/")[2]
            self.workloads.setdefault(name, Workload(None, release, step=0, stuck_at=self.stuck_at)).change(release)
            names.add(name)
        for name in self.workloads.keys() - names:
            del self.workloads[name]

    def _deployment(self, name: str) -> Json:
        workload = self.workloads.get(name)
        if workload is None or (workload.serves is None and workload.step == 0):
            if workload:
                workload.tick()
            raise Refused(404, "NotFound", f'deployments.apps "{name}" not found')
        facts, _ = _STEPS[workload.step]
        workload.tick()
        observed = workload.generation - (facts.get("observed") is False)
        return {
            "kind": "Deployment",
            "metadata": {"name": name, "namespace": NAMESPACE, "generation": workload.generation},
            "spec": {"replicas": 1, "selector": {"matchLabels": {"app": f"isvc.{name}"}}},
            "status": {
                "observedGeneration": observed,
                "replicas": facts.get("replicas", 1),
                "updatedReplicas": facts.get("updated", 1),
                "availableReplicas": facts.get("available", 1),
                "conditions": self.conditions,
            },
        }


def _merged(target: Any, patch: Any) -> Any:
    """RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    target = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        else:
            target[key] = _merged(target.get(key), value)
    return target


def inference_service(uri: str, **spec: Any) -> Json:
    """As KServe's webhook and controller leave it, Ready as ever."""
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": NAME, "namespace": NAMESPACE, "generation": 1, "resourceVersion": "100"},
        "spec": {
            "predictor": {
                "minReplicas": 1,
                "model": {"modelFormat": {"name": "triton", "version": "2"}, "name": "", "storageUri": uri},
            },
            **spec,
        },
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }


@contextmanager
def serving(kube: Kube) -> Iterator[Kube]:
    """Run the server on loopback while the context lasts."""

    class Answering(Handler):
        def do_GET(self) -> None:
            self._answer(lambda path: kube.get(path))

        def do_PATCH(self) -> None:
            body = json.loads(self.content())
            self._answer(lambda path: kube.patch(path, self.headers["Content-Type"], body))

        def _answer(self, act: Callable[[str], Json]) -> None:
            path = self.path.partition("?")[0]
            kube.seen.append(f"{self.command} {path}")
            try:
                status, content = 200, act(path)
            except Refused as refused:
                status = refused.status
                content = {
                    "kind": "Status", "status": "Failure", "code": status,
                    "reason": refused.reason, "message": str(refused),
                }  # fmt: skip
            self.answer(status, content)

    with on_loopback(Answering) as kube.url:
        yield kube


def kubeconfig(url: str) -> Json:
    """A kubeconfig with one context, `test`."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": {"token": "not-a-secret"}}],
        "contexts": [{"name": "test", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "test",
    }
