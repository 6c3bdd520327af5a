"""Rules a schema can't state: names that must agree, and what keeps a cluster safe.

Each rule takes all manifests of a rendering and returns its problems as sentences; none means it holds.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from tests.manifests import network_rules, pod_rules, serving_rules
from tests.manifests.controller import Manifest
from tests.manifests.pods import name_of, pods

# Whoever deploys looks at what it changes, and at what KServe makes of that.
_DEPLOY_VERBS = {"inferenceservices": {"get", "list", "watch", "patch"}, "deployments": {"get", "list", "watch"}}
_CLUSTER_SCOPED = {
    "ClusterImagePolicy", "ClusterStorageContainer", "Namespace", "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
}  # fmt: skip
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_WORD = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_PORT_NAME = re.compile(r"(?=.*[a-z])[a-z0-9](-?[a-z0-9])*")


def everything_is_in_one_restricted_namespace(manifests: Sequence[Manifest]) -> list[str]:
    """One namespace, under the restricted Pod Security Standard; every manifest that has one lies in it."""
    namespaces = [m for m in manifests if m["kind"] == "Namespace"]
    if len(namespaces) != 1:
        return [f"{len(namespaces)} namespaces, expected one"]
    name, labels = namespaces[0]["metadata"]["name"], namespaces[0]["metadata"].get("labels", {})
    problems = [
        f"Namespace/{name}: {mode} is not restricted"
        for mode in ("enforce", "audit", "warn")
        if labels.get(f"pod-security.kubernetes.io/{mode}") != "restricted"
    ]
    for manifest in manifests:
        if manifest["kind"] in _CLUSTER_SCOPED and "namespace" in manifest["metadata"]:
            problems.append(f"{name_of(manifest)}: its kind has no namespace")
        elif manifest["kind"] not in _CLUSTER_SCOPED and manifest["metadata"].get("namespace") != name:
            problems.append(f"{name_of(manifest)}: outside namespace {name}")
    return problems


def names_are_unique(manifests: Sequence[Manifest]) -> list[str]:
    """No two manifests of a kind share a name."""
    names = [name_of(m) for m in manifests]
    return [f"{name}: {names.count(name)} times" for name in sorted(set(names)) if names.count(name) > 1]


def names_and_labels_are_well_formed(manifests: Sequence[Manifest]) -> list[str]:
    """Names, labels and names of containers, volumes and ports are such as an API server takes."""
    problems = []
    for manifest in manifests:
        name, labels = manifest["metadata"]["name"], manifest["metadata"].get("labels", {})
        if len(name) > 253 or not _NAME.fullmatch(name):
            problems.append(f"{name_of(manifest)}: no name that Kubernetes takes")
        problems += [f"{name_of(manifest)}: label {key}: {value!r}" for key, value in _malformed(labels)]
        keys = dict.fromkeys(manifest["metadata"].get("annotations", {}), "")
        problems += [f"{name_of(manifest)}: annotation {key}" for key, _ in _malformed(keys)]
    for pod in pods(manifests):
        problems += [f"{pod.source}: label {key}: {value!r}" for key, value in _malformed(pod.labels)]
        named = [entry["name"] for entry in (*pod.containers(), *pod.spec.get("volumes", ()))]
        wrong = [name for name in named if len(name) > 63 or "." in name or not _NAME.fullmatch(name)]
        ports = [port.get("name", "x") for c in pod.containers() for port in c.get("ports", ())]
        wrong += [port for port in ports if len(port) > 15 or not _PORT_NAME.fullmatch(port)]
        problems += [f"{pod.source}: {name!r} is no name of a container, volume or port" for name in wrong]
    return problems


def _malformed(labels: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for key, value in labels.items():
        prefix, _, word = key.rpartition("/")
        known = _WORD.fullmatch(word) and len(word) <= 63 and (not prefix or _NAME.fullmatch(prefix))
        if not known or len(value) > 63 or (value and not _WORD.fullmatch(value)):
            yield key, value


def rights_are_minimal(manifests: Sequence[Manifest]) -> list[str]:
    """Rights lie in this namespace, on named resources, with a deploy step's verbs, and are bound to someone."""
    problems = [f"{name_of(m)}: reaches beyond its namespace" for m in manifests if m["kind"].startswith("ClusterRole")]
    accounts = {
        (m["metadata"].get("namespace"), m["metadata"]["name"]) for m in manifests if m["kind"] == "ServiceAccount"
    }
    roles = {m["metadata"]["name"]: m for m in manifests if m["kind"] == "Role"}
    known = [(m["apiVersion"].rpartition("/")[0], m["kind"], m["metadata"]["name"]) for m in manifests]
    services = [name for _, kind, name in known if kind == "InferenceService"]
    # What KServe makes of a service, and of the canary that deploying puts beside it.
    known += [("apps", "Deployment", f"{name}-{end}") for name in services for end in ("predictor", "canary-predictor")]
    for role in roles.values():
        for rule in role["rules"]:
            if not rule.get("resourceNames"):
                problems.append(f"{name_of(role)}: a rule without resourceNames")
            for resource in rule["resources"]:
                beyond = sorted(set(rule["verbs"]) - _DEPLOY_VERBS.get(resource, set()))
                problems += [f"{name_of(role)}: verbs {beyond} on {resource}"] if beyond else []
            if "*" in (*rule["resources"], *rule["apiGroups"]):
                problems.append(f"{name_of(role)}: a wildcard")
            for name in rule.get("resourceNames", ()):
                if not any(_is_resource(group, kind, rule) and name == here for group, kind, here in known):
                    problems.append(f"{name_of(role)}: names {name!r}, which isn't here")
    for binding in (m for m in manifests if m["kind"] == "RoleBinding"):
        if (binding["roleRef"]["kind"], binding["roleRef"]["name"]) not in [("Role", name) for name in roles]:
            problems.append(f"{name_of(binding)}: binds no role of ours")
        problems += [
            f"{name_of(binding)}: binds {subject['kind']} {subject.get('namespace')}/{subject['name']}"
            for subject in binding["subjects"]
            if subject["kind"] != "ServiceAccount" or (subject.get("namespace"), subject["name"]) not in accounts
        ]
    return problems


def _is_resource(group: str, kind: str, rule: Mapping[str, Any]) -> bool:
    return group in rule["apiGroups"] and f"{kind.lower()}s" in rule["resources"]


RULES: tuple[Callable[[Sequence[Manifest]], list[str]], ...] = (
    everything_is_in_one_restricted_namespace,
    names_are_unique,
    names_and_labels_are_well_formed,
    rights_are_minimal,
    *pod_rules.RULES,
    *serving_rules.RULES,
    *network_rules.RULES,
)
