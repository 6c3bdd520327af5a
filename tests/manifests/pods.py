"""The pods that manifests lead to, as far as rules about pods need them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Manifest = Mapping[str, Any]

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


def _serving_pod(service: Manifest, part: str, manifests: Sequence[Manifest]) -> Pod:
    spec = dict(service["spec"][part])
    runtime = runtime_of(service, manifests) if "model" in spec else None
    if runtime is not None:
        base = runtime["spec"]
        spec["containers"] = [*base.get("containers", ()), *spec.get("containers", ())]
        spec["volumes"] = [*base.get("volumes", ()), *spec.get("volumes", ())]
    labels = {
        "serving.kserve.io/inferenceservice": service["metadata"]["name"],
        "component": part,
        **spec.get("labels", {}),
    }
    return Pod(f"{name_of(service)} {part}", service["metadata"].get("namespace", ""), labels, spec)
