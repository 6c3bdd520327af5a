"""Rules a schema can't state: names that must agree, and what keeps a cluster safe.

Each rule takes all manifests of a rendering and returns its problems as sentences; none means it holds.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tests.manifests.pods import Manifest, Pod, name_of, pods, runtime_of, storage_container_of

# Whoever deploys looks at what it changes, and at what KServe makes of that.
_DEPLOY_VERBS = {"inferenceservices": {"get", "list", "watch", "patch"}, "deployments": {"get", "list", "watch"}}
_CLUSTER_SCOPED = {
    "ClusterStorageContainer", "Namespace", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding",
}  # fmt: skip
_POD_VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret",
}  # fmt: skip
# Pods that other systems make in our namespace carry their labels.
_FOREIGN_LABELS = ({"pipelines.kubeflow.org/v2_component": "true"},)


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


def pods_are_restricted(manifests: Sequence[Manifest]) -> list[str]:
    """The restricted Pod Security Standard of Kubernetes, pod by pod."""
    return [f"{pod.source}: {problem}" for pod in pods(manifests) for problem in _unrestricted(pod)]


def _unrestricted(pod: Pod) -> list[str]:
    spec, inherited = pod.spec, pod.spec.get("securityContext", {})
    problems = [f"{field} is set" for field in ("hostNetwork", "hostPID", "hostIPC") if spec.get(field)]
    for volume in spec.get("volumes", ()):
        problems += [f"volume {volume['name']}: {kind}" for kind in set(volume) - {"name"} - _POD_VOLUMES]
    for container in pod.containers():
        own = container.get("securityContext", {})
        capabilities = own.get("capabilities", {})
        failed = {
            "may run as root": own.get("runAsNonRoot", inherited.get("runAsNonRoot")) is not True,
            "runs as user 0": own.get("runAsUser", inherited.get("runAsUser")) == 0,
            "may escalate privileges": own.get("allowPrivilegeEscalation") is not False,
            "is privileged": bool(own.get("privileged")),
            "keeps capabilities": "ALL" not in capabilities.get("drop", ()),
            "adds capabilities": not set(capabilities.get("add", ())) <= {"NET_BIND_SERVICE"},
            "has no seccomp profile": own.get("seccompProfile", inherited.get("seccompProfile", {})).get("type")
            not in ("RuntimeDefault", "Localhost"),
            "takes a host port": any(port.get("hostPort") for port in container.get("ports", ())),
        }
        problems += [f"container {container['name']} {what}" for what, is_so in failed.items() if is_so]
    return problems


def containers_are_bounded(manifests: Sequence[Manifest]) -> list[str]:
    """Our own stricter rules: read-only root file systems, requests and limits, images pinned."""
    problems = []
    for pod in pods(manifests):
        for container in pod.containers():
            where = f"{pod.source} container {container['name']}"
            resources = container.get("resources", {})
            for bound in ("requests", "limits"):
                missing = {"cpu", "memory"} - set(resources.get(bound, {}))
                problems += [f"{where}: no {bound} of {name}" for name in sorted(missing)]
            if not container.get("securityContext", {}).get("readOnlyRootFilesystem"):
                problems.append(f"{where}: its root file system is writable")
            if not _is_pinned(container.get("image", "")):
                problems.append(f"{where}: image {container.get('image')!r} is not pinned")
    return problems


def _is_pinned(image: str) -> bool:
    if re.search(r"@sha256:[0-9a-f]{64}$", image):
        return True
    tag = image.rpartition("/")[2].partition(":")[2]
    return bool(tag) and tag != "latest"


def mounts_and_probes_point_at_something(manifests: Sequence[Manifest]) -> list[str]:
    """Volume mounts name declared volumes, probes declared ports, and no port is taken twice in a pod."""
    problems = []
    for pod in pods(manifests):
        volumes = {volume["name"] for volume in pod.spec.get("volumes", ())}
        taken = [port["containerPort"] for c in pod.containers() for port in c.get("ports", ())]
        problems += [f"{pod.source}: port {port} taken twice" for port in sorted(set(taken)) if taken.count(port) > 1]
        for container in pod.containers():
            where = f"{pod.source} container {container['name']}"
            mounts = [mount["name"] for mount in container.get("volumeMounts", ())]
            problems += [f"{where}: no volume {mount}" for mount in mounts if mount not in volumes]
            ports = {p.get("name") for p in container.get("ports", ())} | {
                p["containerPort"] for p in container.get("ports", ())
            }
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                asked = container.get(probe, {})
                port = (asked.get("httpGet") or asked.get("tcpSocket") or {}).get("port")
                if probe in container and port not in ports:
                    problems.append(f"{where}: {probe} asks port {port}, which it doesn't have")
    return problems


def releases_are_fetched_by_our_container(manifests: Sequence[Manifest]) -> list[str]:
    """The container a service names for its download is here and takes the service's URI: KServe fails it otherwise."""
    problems = []
    for service in (m for m in manifests if m["kind"] == "InferenceService"):
        predictor, container = service["spec"]["predictor"], storage_container_of(service, manifests)
        uri = predictor.get("model", {}).get("storageUri", "")
        if container is None:
            problems.append(f"{name_of(service)}: no storage container {predictor.get('storageContainerName')!r}")
        elif not any(_takes(format_, uri) for format_ in container["spec"]["supportedUriFormats"]):
            problems.append(f"{name_of(service)}: its storage container doesn't take {uri}")
        elif container["spec"].get("workloadType", "initContainer") != "initContainer":
            problems.append(f"{name_of(service)}: its storage container is for {container['spec']['workloadType']}")
    return problems


def _takes(format_: Mapping[str, str], uri: str) -> bool:
    return uri.startswith(format_["prefix"]) if "prefix" in format_ else bool(re.match(format_["regex"], uri))


def triton_has_sized_shared_memory(manifests: Sequence[Manifest]) -> list[str]:
    """Whatever runs tritonserver has a memory volume of a stated size at /dev/shm."""
    problems = []
    for pod in pods(manifests):
        sized = {
            volume["name"]
            for volume in pod.spec.get("volumes", ())
            if volume.get("emptyDir", {}).get("medium") == "Memory" and "sizeLimit" in volume["emptyDir"]
        }
        for container in pod.containers():
            mounts = {m["mountPath"]: m["name"] for m in container.get("volumeMounts", ())}
            if container.get("command") == ["tritonserver"] and mounts.get("/dev/shm") not in sized:
                problems.append(f"{pod.source}: no sized memory volume at /dev/shm")
    return problems


def services_fit_their_runtime(manifests: Sequence[Manifest]) -> list[str]:
    """An InferenceService's runtime exists and takes its format and protocol; its transformer asks Triton's port."""
    problems = []
    for service in (m for m in manifests if m["kind"] == "InferenceService"):
        where, model = name_of(service), service["spec"]["predictor"].get("model", {})
        runtime = runtime_of(service, manifests)
        if runtime is None:
            problems.append(f"{where}: no ServingRuntime {model.get('runtime')!r} in its namespace")
            continue
        format_ = model.get("modelFormat", {})
        supported = [(f["name"], f.get("version")) for f in runtime["spec"].get("supportedModelFormats", ())]
        if (format_.get("name"), format_.get("version")) not in supported:
            problems.append(f"{where}: its runtime doesn't take format {format_}")
        if model.get("protocolVersion") not in runtime["spec"].get("protocolVersions", ()):
            problems.append(f"{where}: its runtime doesn't speak {model.get('protocolVersion')}")
        if service["metadata"].get("annotations", {}).get("serving.kserve.io/deploymentMode") != "Standard":
            problems.append(f"{where}: deployment mode is not Standard")
        problems += [f"{where}: {problem}" for problem in _unconnected(service, runtime)]
    return problems


def _unconnected(service: Manifest, runtime: Manifest) -> list[str]:
    server = flags(_named(runtime["spec"]["containers"], "kserve-container"))
    transformer = flags(_named(service["spec"]["predictor"].get("containers", ()), "transformer-container"))
    problems = []
    for asked, port in (("--predictor_host", "--grpc-port"), ("--predictor_http", "--http-port")):
        wanted = f"localhost:{server.get(port)}"
        if transformer.get(asked) != wanted:
            problems.append(f"its transformer asks {transformer.get(asked)}, Triton listens on {wanted}")
    # Whoever reaches these ports may unload models: nobody outside the pod does.
    for address in ("--grpc-address", "--http-address"):
        if server.get(address) != "127.0.0.1":
            problems.append(f"its Triton's {address} is {server.get(address)}")
    if server.get("--model-control-mode") != "explicit" or not server.get("--load-model"):
        problems.append("its Triton cannot load a model anew")
    mounted = str(transformer.get("--release", ""))
    if not server.get("--model-repository", "").startswith(f"{mounted}/"):
        problems.append("its transformer and Triton read different releases")
    return problems


def _named(containers: Sequence[Mapping[str, Any]], name: str) -> Mapping[str, Any]:
    return next((container for container in containers if container["name"] == name), {})


def flags(container: Mapping[str, Any]) -> dict[str, str]:
    """A container's `--flag=value` arguments."""
    return {flag: value for flag, _, value in (arg.partition("=") for arg in container.get("args", ()))}


def servers_end_in_order(manifests: Sequence[Manifest]) -> list[str]:
    """A pod has time for the slowest request, and its Triton ends after the transformer that asks it."""
    problems = []
    for service in (m for m in manifests if m["kind"] == "InferenceService"):
        where, predictor, runtime = name_of(service), service["spec"]["predictor"], runtime_of(service, manifests)
        if runtime is None:
            continue
        server = _named(runtime["spec"]["containers"], "kserve-container")
        transformer = _named(predictor.get("containers", ()), "transformer-container")
        told = {name: _pre_stop_seconds(each) for name, each in (("Triton", server), ("transformer", transformer))}
        if told["transformer"] < 1:
            problems.append(f"{where}: its transformer ends while it is still sent requests")
        if told["Triton"] <= told["transformer"] + predictor.get("timeout", 0):
            problems.append(f"{where}: its Triton ends before the slowest request of its transformer")
        needed = told["Triton"] + int(flags(server).get("--exit-timeout-secs", 0))
        if predictor.get("terminationGracePeriodSeconds", 30) <= needed:
            problems.append(f"{where}: needs more than {needed} s to end")
    return problems


def _pre_stop_seconds(container: Mapping[str, Any]) -> int:
    return int(container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0))


def selectors_select_something(manifests: Sequence[Manifest]) -> list[str]:
    """Every NetworkPolicy and Service selects a pod of ours, or one that a known system makes in our namespace."""
    known = [pod.labels for pod in pods(manifests)] + list(_FOREIGN_LABELS)
    problems = []
    for manifest in manifests:
        if manifest["kind"] == "NetworkPolicy":
            selector = manifest["spec"]["podSelector"].get("matchLabels", {})
        elif manifest["kind"] == "Service":
            selector = manifest["spec"].get("selector", {})
        else:
            continue
        if not any(selector.items() <= labels.items() for labels in known):
            problems.append(f"{name_of(manifest)}: its selector {selector} matches no pod")
    return problems


def traffic_is_denied_by_default(manifests: Sequence[Manifest]) -> list[str]:
    """A policy denies everything to every pod; no other policy opens everything again."""
    policies = {m["metadata"]["name"]: m["spec"] for m in manifests if m["kind"] == "NetworkPolicy"}
    deny = policies.pop("default-deny", {})
    if deny.get("podSelector") != {} or set(deny.get("policyTypes", ())) != {"Ingress", "Egress"} or len(deny) != 2:
        return ["NetworkPolicy/default-deny: absent, or it doesn't deny all traffic of all pods"]
    problems = []
    for name, spec in policies.items():
        for direction, peers in (("ingress", "from"), ("egress", "to")):
            for rule in spec.get(direction, ()):
                if not rule.get(peers) or not rule.get("ports"):
                    problems.append(f"NetworkPolicy/{name}: {direction} without peers or without ports")
    return problems


def rights_are_minimal(manifests: Sequence[Manifest]) -> list[str]:
    """Rights lie in this namespace, on named resources, with a deploy step's verbs, and are bound to someone."""
    problems = [f"{name_of(m)}: reaches beyond its namespace" for m in manifests if m["kind"].startswith("ClusterRole")]
    accounts = {m["metadata"]["name"] for m in manifests if m["kind"] == "ServiceAccount"}
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
        if binding["roleRef"]["name"] not in roles:
            problems.append(f"{name_of(binding)}: binds no role of ours")
        problems += [
            f"{name_of(binding)}: binds {subject['kind']} {subject['name']}"
            for subject in binding["subjects"]
            if subject["kind"] != "ServiceAccount" or subject["name"] not in accounts
        ]
    return problems


def _is_resource(group: str, kind: str, rule: Mapping[str, Any]) -> bool:
    return group in rule["apiGroups"] and f"{kind.lower()}s" in rule["resources"]


def accounts_exist_and_keep_their_tokens(manifests: Sequence[Manifest]) -> list[str]:
    """Pods run as an account of ours that gives them no API token."""
    accounts = {m["metadata"]["name"] for m in manifests if m["kind"] == "ServiceAccount"}
    problems = []
    for pod in pods(manifests):
        if pod.spec.get("serviceAccountName") not in accounts:
            problems.append(f"{pod.source}: no service account {pod.spec.get('serviceAccountName')!r}")
        if pod.spec.get("automountServiceAccountToken") is not False:
            problems.append(f"{pod.source}: mounts an API token")
    return problems


RULES: tuple[Callable[[Sequence[Manifest]], list[str]], ...] = (
    everything_is_in_one_restricted_namespace,
    names_are_unique,
    pods_are_restricted,
    containers_are_bounded,
    mounts_and_probes_point_at_something,
    releases_are_fetched_by_our_container,
    triton_has_sized_shared_memory,
    services_fit_their_runtime,
    servers_end_in_order,
    selectors_select_something,
    traffic_is_denied_by_default,
    rights_are_minimal,
    accounts_exist_and_keep_their_tokens,
)
