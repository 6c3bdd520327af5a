"""Wait until a release is served: the Deployment has changed to it, and the service says so itself.

KServe keeps an InferenceService Ready while the pod of the release before still answers, so Ready says nothing here.
"""

import time
from collections.abc import Mapping
from typing import Any

from components.contracts.tools.log import get_logger
from components.release.cluster import Cluster, ClusterError

_logger = get_logger(__name__)

POLL_S = 5.0
_IN_A_ROW = 3  # answers, each over a connection of its own, that a Service may have spread over its pods


def wait_until_served(cluster: Cluster, release: str, timeout_s: float, canary: bool = False) -> None:
    """Return once every pod is the new one and the service answers with `release`, time after time.

    Args:
        cluster: with the InferenceService, changed already.
        release: name of the release.
        timeout_s: seconds to wait for it.
        canary: ask the canary, not the service beside it.

    Raises:
        ClusterError: it did not come to that in time, or Kubernetes gave the rollout up; says what was seen last.
    """
    until, seen = time.monotonic() + timeout_s, ""
    while True:
        before, (seen, hopeless) = seen, _look(cluster, release, canary)
        if not seen:
            return
        if seen != before:
            _logger.info("waiting for %s: %s", release, seen)
        if hopeless or time.monotonic() > until:
            why = "the rollout was given up" if hopeless else f"not served after {timeout_s:g} s"
            raise ClusterError(f"release {release}: {why}: {seen}. `archipelago rollback` goes back")
        time.sleep(min(POLL_S, max(0.0, until - time.monotonic())))


def _look(cluster: Cluster, release: str, canary: bool) -> tuple[str, bool]:
    """What is not yet as it should be (empty where all is), and whether waiting is in vain."""
    deployment = cluster.deployment(canary)
    if deployment is None:
        return f"no Deployment {cluster.workload(canary)} yet{_told(cluster.service())}", False
    if behind := _behind(deployment):
        conditions = deployment.get("status", {}).get("conditions") or []
        hopeless = any(c["type"] == "Progressing" and c.get("reason") == "ProgressDeadlineExceeded" for c in conditions)
        return f"{behind}{_refusals(conditions)}{_pods(cluster.pods(deployment))}{_told(cluster.service())}", hopeless
    for _ in range(_IN_A_ROW):
        answer = cluster.answers(canary)
        if answer is None:
            return f"the pods are there, and the service does not answer yet{_told(cluster.service())}", False
        if answer != release:
            return f"the service still answers with release {answer}{_told(cluster.service())}", False
    return "", False


def _behind(deployment: Mapping[str, Any]) -> str:
    """How a Deployment lags behind what it was told to be; empty where it does not."""
    status, name = deployment.get("status", {}), deployment["metadata"]["name"]
    if status.get("observedGeneration", 0) < deployment["metadata"]["generation"]:
        return f"Deployment {name} was told, and has not begun"
    wanted, pods = deployment["spec"].get("replicas", 1), status.get("replicas", 0)
    updated, available = status.get("updatedReplicas", 0), status.get("availableReplicas", 0)
    if wanted == 0:
        return f"Deployment {name} is scaled to zero, nobody can be asked"
    if updated < wanted:
        return f"{updated} of {wanted} pods of Deployment {name} are new"
    if pods > updated:
        return f"{pods - updated} old pods of Deployment {name} still serve"
    if available < wanted:
        return f"{available} of {wanted} new pods of Deployment {name} are available"
    return ""


def _refusals(conditions: list[dict[str, Any]]) -> str:
    """What kept pods from being made: admission, quota."""
    found = [c.get("message", "") for c in conditions if c["type"] == "ReplicaFailure" and c["status"] == "True"]
    return f"; pods are refused: {found[0]}" if found else ""


def _pods(pods: list[dict[str, Any]] | None) -> str:
    """What pods that are not ready say of themselves."""
    said: list[str] = []
    for pod in pods or []:
        status = pod.get("status", {})
        for condition in status.get("conditions") or []:
            if condition["type"] == "PodScheduled" and condition["status"] == "False":
                said.append(f"pod {pod['metadata']['name']} is pending: {condition.get('message', 'not scheduled')}")
        for container in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
            waiting = container.get("state", {}).get("waiting") or {}
            if waiting.get("reason") not in (None, "PodInitializing", "ContainerCreating"):
                detail = f" ({waiting['message']})" if waiting.get("message") else ""
                said.append(f"container {container['name']} waits: {waiting['reason']}{detail}")
    return f"; {'; '.join(dict.fromkeys(said))}" if said else ""


def _told(service: Mapping[str, Any]) -> str:
    """The failure of a model's loading that KServe knows of."""
    failure = service.get("status", {}).get("modelStatus", {}).get("lastFailureInfo") or {}
    return f"; KServe: {failure['message']}" if failure.get("message") else ""
