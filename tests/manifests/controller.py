"""What KServe's controller makes of an InferenceService in Standard mode: Deployment, Service, autoscaler.

By the rules of KServe 0.17 to 0.20 (its predictor, service, autoscaler and storage-initializer sources):

- The runtime's `kserve-container` is laid under the service's `model`, strategically; args are the runtime's, then the
  model's. Containers and volumes beside it are laid over the runtime's by name; of other fields the service's win.
- A storage URI adds an initial container, under the ClusterStorageContainer that the service names, and its volume,
  which `kserve-container` and `transformer-container` get to read.
- The Service offers the ports of `transformer-container` if there is one, else of the first container: the first
  one as 80, the others as they are.
- The autoscaler is a HorizontalPodAutoscaler, or by the annotation a ScaledObject of KEDA, or none.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Manifest = Mapping[str, Any]

_SERVER, _TRANSFORMER = "kserve-container", "transformer-container"
_RELEASE_VOLUME, RELEASE_MOUNT = "kserve-provision-location", "/mnt/models"
# KServe's own, from plain manifests: resources and no securityContext.
_STORAGE_INITIALIZER = {
    "name": "storage-initializer",
    "image": "kserve/storage-initializer:v0.20.0",
    "resources": {bound: {"cpu": "1", "memory": "1Gi"} for bound in ("requests", "limits")},
}
# By which field Kubernetes tells a list's entries apart; lists of other fields are replaced.
_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "env": "name",
    "ports": "containerPort",
    "volumeMounts": "mountPath",
    "topologySpreadConstraints": "topologyKey",
    "imagePullSecrets": "name",
}
# All that a pod takes over from a runtime beside its containers.
_OF_A_RUNTIME = {
    "affinity", "imagePullSecrets", "nodeSelector", "resourceClaims", "schedulerName", "tolerations", "volumes",
}  # fmt: skip
# Of a predictor, what is not the pod's.
_NOT_THE_PODS = {
    "annotations", "autoScaling", "batcher", "canaryTrafficPercent", "containerConcurrency", "deploymentStrategy",
    "labels", "logger", "maxReplicas", "minReplicas", "model", "scaleMetric",
    "scaleMetricType", "scaleTarget", "storageContainerName", "supportedModelFormats", "timeout",
}  # fmt: skip
# Of a `model`, what is not the container's.
_NOT_THE_CONTAINERS = {"modelFormat", "protocolVersion", "runtime", "runtimeVersion", "storage", "storageUri"}
_AUTOSCALER = "serving.kserve.io/autoscalerClass"


def strategic_merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid over `base`, as Kubernetes' strategic merge patch does."""
    merged = dict(base)
    for name, value in over.items():
        if isinstance(value, Mapping) and isinstance(base.get(name), Mapping):
            merged[name] = strategic_merge(base[name], value)
        elif name in _KEYS and name in base:
            merged[name] = _merge_lists(base[name], value, _KEYS[name])
        else:
            merged[name] = value
    return merged


def _merge_lists(base: Sequence[Manifest], over: Sequence[Manifest], key: str) -> list[Manifest]:
    known = [entry[key] for entry in base]
    merged: list[Manifest] = list(base)
    for entry in over:
        if entry[key] in known:
            at = known.index(entry[key])
            merged[at] = strategic_merge(merged[at], entry)
        else:
            merged.append(entry)
    return merged


def runtime_of(service: Manifest, manifests: Sequence[Manifest]) -> Manifest | None:
    """The ServingRuntime that an InferenceService's predictor names, in its own namespace."""
    wanted = service["spec"]["predictor"].get("model", {}).get("runtime")
    for manifest in manifests:
        same_place = manifest["metadata"].get("namespace") == service["metadata"].get("namespace")
        if manifest["kind"] == "ServingRuntime" and manifest["metadata"]["name"] == wanted and same_place:
            return manifest
    return None


def storage_container_of(service: Manifest, manifests: Sequence[Manifest]) -> Manifest | None:
    """The ClusterStorageContainer that an InferenceService's predictor names."""
    wanted = service["spec"]["predictor"].get("storageContainerName")
    found = (m for m in manifests if m["kind"] == "ClusterStorageContainer" and m["metadata"]["name"] == wanted)
    return next(found, None)


def made_by_kserve(manifests: Sequence[Manifest]) -> Iterator[Manifest]:
    """What the controller adds to these manifests."""
    for service in (m for m in manifests if m["kind"] == "InferenceService"):
        runtime = runtime_of(service, manifests)
        if runtime is not None:
            yield from _made(service, runtime["spec"], _pod(service, runtime["spec"], manifests))


def _pod(service: Manifest, runtime: Manifest, manifests: Sequence[Manifest]) -> dict[str, Any]:
    predictor = service["spec"]["predictor"]
    model = {k: v for k, v in predictor["model"].items() if k not in _NOT_THE_CONTAINERS}
    containers = [dict(container) for container in runtime["containers"]]
    for container in containers:
        if container["name"] == _SERVER:
            args = [*container.get("args", ()), *model.get("args", ())]
            container.update(strategic_merge(container, model), name=_SERVER, args=args)
    base = {k: v for k, v in runtime.items() if k in _OF_A_RUNTIME} | {"containers": containers}
    pod = strategic_merge(base, {k: v for k, v in predictor.items() if k not in _NOT_THE_PODS})
    return _with_release(pod, service, manifests) if predictor["model"].get("storageUri") else pod


def _with_release(pod: Manifest, service: Manifest, manifests: Sequence[Manifest]) -> dict[str, Any]:
    uri, named = service["spec"]["predictor"]["model"]["storageUri"], storage_container_of(service, manifests)
    mount = {"name": _RELEASE_VOLUME, "mountPath": RELEASE_MOUNT}
    fetch = {**_STORAGE_INITIALIZER, "args": [uri, RELEASE_MOUNT], "volumeMounts": [mount]}
    fetch = strategic_merge(fetch, named["spec"]["container"] if named else {})
    readers = [
        {**c, "volumeMounts": [*c.get("volumeMounts", ()), {**mount, "readOnly": True}]}
        if c["name"] in (_SERVER, _TRANSFORMER)
        else c
        for c in pod["containers"]
    ]
    return {
        **pod,
        "containers": readers,
        "initContainers": [*pod.get("initContainers", ()), fetch],
        "volumes": [*pod.get("volumes", ()), {"name": _RELEASE_VOLUME, "emptyDir": {}}],
    }


def _made(service: Manifest, runtime: Manifest, pod: Manifest) -> Iterator[Manifest]:
    predictor = service["spec"]["predictor"]
    name, app = f"{service['metadata']['name']}-predictor", f"isvc.{service['metadata']['name']}-predictor"
    labels = {
        **runtime.get("labels", {}),
        **service["metadata"].get("labels", {}),
        "app": app,
        "component": "predictor",
        "serving.kserve.io/inferenceservice": service["metadata"]["name"],
        **predictor.get("labels", {}),
    }
    annotations = {
        **runtime.get("annotations", {}),
        **service["metadata"].get("annotations", {}),
        **predictor.get("annotations", {}),
    }
    metadata = {"name": name, "namespace": service["metadata"].get("namespace", ""), "labels": labels}
    replicas = predictor.get("minReplicas", 1)
    yield {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": app}},
            "strategy": predictor.get("deploymentStrategy", {"type": "RollingUpdate"}),
            "template": {"metadata": {"labels": labels, "annotations": annotations}, "spec": pod},
        },
    }
    yield {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {"selector": {"app": app}, "ports": _ports(pod["containers"], name)},
    }
    yield from _autoscaler(predictor, annotations.get(_AUTOSCALER, "hpa"), metadata, replicas)


def _ports(containers: Sequence[Manifest], name: str) -> list[Manifest]:
    answering = next((c for c in containers if c["name"] == _TRANSFORMER), containers[0])
    ports = answering.get("ports", [{"name": name, "containerPort": 8080}])
    return [
        {
            "name": port.get("name", ""),
            "port": 80 if first else port["containerPort"],
            "targetPort": port["containerPort"],
            "protocol": port.get("protocol", "TCP"),
        }
        for first, port in zip([True, *[False] * len(ports)], ports, strict=False)
    ]


def _autoscaler(predictor: Manifest, by: str, metadata: Manifest, replicas: int) -> Iterator[Manifest]:
    bounds = replicas, max(predictor.get("maxReplicas", 0), replicas)
    metrics = predictor.get("autoScaling", {}).get("metrics", [])
    if by == "hpa":
        cpu = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}
        yield {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": metadata,
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": metadata["name"]},
                "minReplicas": bounds[0],
                "maxReplicas": bounds[1],
                "metrics": [{"type": "Resource", "resource": cpu}],
            },
        }
    elif by == "keda":
        yield {
            "apiVersion": "keda.sh/v1alpha1",
            "kind": "ScaledObject",
            "metadata": metadata,
            "spec": {
                "scaleTargetRef": {"name": metadata["name"]},
                "minReplicaCount": bounds[0],
                "maxReplicaCount": bounds[1],
                "triggers": [
                    {
                        "type": metric["external"]["metric"]["backend"],
                        "metadata": {
                            "serverAddress": metric["external"]["metric"].get("serverAddress", ""),
                            "query": metric["external"]["metric"].get("query", ""),
                            "threshold": metric["external"]["target"].get("value", ""),
                        },
                    }
                    for metric in metrics
                    if metric["type"] == "External"
                ],
            },
        }
