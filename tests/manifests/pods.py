"""The pods that manifests lead to, as far as rules about pods need them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.manifests.controller import Manifest, made_by_kserve

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

    def container(self, name: str) -> Mapping[str, Any]:
        """A container by name; empty where there is none."""
        return next((container for container in self.containers() if container["name"] == name), {})


def pods(manifests: Sequence[Manifest]) -> Iterator[Pod]:
    """Pods of workloads, CronJobs and what KServe makes of InferenceServices."""
    for manifest in (*manifests, *made_by_kserve(manifests)):
        if manifest["kind"] in _TEMPLATED:
            template = manifest["spec"]["template"]
        elif manifest["kind"] == "CronJob":
            template = manifest["spec"]["jobTemplate"]["spec"]["template"]
        else:
            continue
        spec = template["spec"]
        for claim in manifest["spec"].get("volumeClaimTemplates", ()):
            name = claim["metadata"]["name"]
            volume = {"name": name, "persistentVolumeClaim": {"claimName": name}}
            spec = {**spec, "volumes": [*spec.get("volumes", ()), volume]}
        namespace = manifest["metadata"].get("namespace", "")
        yield Pod(name_of(manifest), namespace, template["metadata"].get("labels", {}), spec)


def flags(container: Mapping[str, Any]) -> dict[str, str]:
    """A container's `--flag=value` arguments."""
    return {flag: value for flag, _, value in (arg.partition("=") for arg in container.get("args", ()))}


def name_of(manifest: Manifest) -> str:
    """kind/name, for messages."""
    return f"{manifest['kind']}/{manifest['metadata']['name']}"
