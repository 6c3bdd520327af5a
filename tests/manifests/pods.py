"""The pods that manifests lead to, as far as rules about pods need them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Manifest = Mapping[str, Any]

# The volume that KServe adds for what it downloads.
_RELEASE = "kserve-provision-location"
_TEMPLATED = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job")


@dataclass(frozen=True)
class Pod:
    """A pod template: where it comes from, its namespace and labels, its spec."""

    source: str
    namespace: str
    labels: Mapping[str, str]
    spec: Mapping[str, Any]

    def containers(self) -> list[Mapping[str, Any]]:
        """Every container, initial ones included."""
        return [*self.spec.get("initContainers", ()), *self.spec.get("containers", ())]


def pods(manifests: Sequence[Manifest]) -> Iterator[Pod]:
    """Pods of workloads, CronJobs and InferenceServices (runtime and service merged, as KServe does)."""
    for manifest in manifests:
        source, namespace = name_of(manifest), manifest["metadata"].get("namespace", "")
        if manifest["kind"] in _TEMPLATED:
            template = manifest["spec"]["template"]
            claims = [claim["metadata"]["name"] for claim in manifest["spec"].get("volumeClaimTemplates", ())]
            if claims:
                volumes = [{"name": claim, "persistentVolumeClaim": {"claimName": claim}} for claim in claims]
                spec = template["spec"]
                template = {**template, "spec": {**spec, "volumes": [*spec.get("volumes", ()), *volumes]}}
        elif manifest["kind"] == "CronJob":
            template = manifest["spec"]["jobTemplate"]["spec"]["template"]
        elif manifest["kind"] == "InferenceService":
            for part in ("predictor", "transformer", "explainer"):
                if part in manifest["spec"]:
                    yield _serving_pod(manifest, part, manifests)
            continue
        else:
            continue
        yield Pod(source, namespace, template["metadata"].get("labels", {}), template["spec"])


def runtime_of(service: Manifest, manifests: Sequence[Manifest]) -> Manifest | None:
    """The ServingRuntime that an InferenceService's predictor names, in its own namespace."""
    wanted = service["spec"]["predictor"].get("model", {}).get("runtime")
    for manifest in manifests:
        same_place = manifest["metadata"].get("namespace") == service["metadata"].get("namespace")
        if manifest["kind"] == "ServingRuntime" and manifest["metadata"]["name"] == wanted and same_place:
            return manifest
    return None


def name_of(manifest: Manifest) -> str:
    """kind/name, for messages."""
    return f"{manifest['kind']}/{manifest['metadata']['name']}"


def _storage_initializer(service: Manifest, manifests: Sequence[Manifest]) -> Mapping[str, Any]:
    """The init container of a KServe from plain manifests, under the ClusterStorageContainer that the service names.

    KServe's own has resources and no securityContext; fields of the named one win.
    """
    bounds = {"cpu": "1", "memory": "1Gi"}
    own = {
        "name": "storage-initializer",
        "image": "kserve/storage-initializer:v0.20.0",
        "args": [service["spec"]["predictor"]["model"]["storageUri"], "/mnt/models"],
        "resources": {"requests": bounds, "limits": bounds},
        "volumeMounts": [{"name": _RELEASE, "mountPath": "/mnt/models"}],
    }
    named = storage_container_of(service, manifests)
    laid_over = named["spec"]["container"] if named else {}
    return {**own, **laid_over, "volumeMounts": [*own["volumeMounts"], *laid_over.get("volumeMounts", ())]}


def storage_container_of(service: Manifest, manifests: Sequence[Manifest]) -> Manifest | None:
    """The ClusterStorageContainer that an InferenceService's predictor names."""
    wanted = service["spec"]["predictor"].get("storageContainerName")
    found = (m for m in manifests if m["kind"] == "ClusterStorageContainer" and m["metadata"]["name"] == wanted)
    return next(found, None)


def _serving_pod(service: Manifest, part: str, manifests: Sequence[Manifest]) -> Pod:
    spec = dict(service["spec"][part])
    runtime = runtime_of(service, manifests) if "model" in spec else None
    if runtime is not None:
        base = runtime["spec"]
        spec["containers"] = [*base.get("containers", ()), *spec.get("containers", ())]
        spec["volumes"] = [*base.get("volumes", ()), *spec.get("volumes", ())]
    if spec.get("model", {}).get("storageUri"):
        spec["initContainers"] = [*spec.get("initContainers", ()), _storage_initializer(service, manifests)]
        spec["volumes"] = [*spec.get("volumes", ()), {"name": _RELEASE, "emptyDir": {}}]
    labels = {
        "serving.kserve.io/inferenceservice": service["metadata"]["name"],
        "component": part,
        **spec.get("labels", {}),
    }
    return Pod(f"{name_of(service)} {part}", service["metadata"].get("namespace", ""), labels, spec)
