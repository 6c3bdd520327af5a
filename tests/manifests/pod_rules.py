"""Rules about pods: the restricted standard, bounds, images, mounts and ports."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from kubernetes.utils.quantity import parse_quantity

from tests.manifests.controller import Manifest
from tests.manifests.pods import Pod, flags, pods

_POD_VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret",
}  # fmt: skip
# What a command is run from, without registry and tag.
_IMAGES = {
    "tritonserver": {"archipelago-triton", "archipelago-triton-gpu"},
    "python -m serving.transformer": {"archipelago-serve"},
    "weed": {"chrislusf/seaweedfs"},
    "torchrun": {"archipelago-train"},
}
_GPU = "nvidia.com/gpu"
# A stub's messages of the largest request and its answer, for each of a release's Python models.
_SHARED_MEMORY = parse_quantity("256Mi")
_PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


def pods_are_restricted(manifests: Sequence[Manifest]) -> list[str]:
    """The restricted Pod Security Standard of Kubernetes, pod by pod."""
    return [f"{pod.source}: {problem}" for pod in pods(manifests) for problem in _unrestricted(pod)]


def _unrestricted(pod: Pod) -> list[str]:
    spec, inherited = pod.spec, pod.spec.get("securityContext", {})
    problems = [f"{field} is set" for field in ("hostNetwork", "hostPID", "hostIPC") if spec.get(field)]
    problems += ["its own user is 0"] if inherited.get("runAsUser") == 0 else []
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


def containers_are_bounded(manifests: Sequence[Manifest]) -> list[str]:
    """Our own stricter rules: read-only root file systems; requests, and limits that are not below them."""
    problems = []
    for pod in pods(manifests):
        for container in pod.containers():
            where = f"{pod.source} container {container['name']}"
            problems += [f"{where}: {problem}" for problem in _unbounded(container.get("resources", {}))]
            if not container.get("securityContext", {}).get("readOnlyRootFilesystem"):
                problems.append(f"{where}: its root file system is writable")
    return problems


def _unbounded(resources: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    requests, limits = resources.get("requests", {}), resources.get("limits", {})
    for bound, given in (("requests", requests), ("limits", limits)):
        yield from (f"no {bound} of {name}" for name in sorted({"cpu", "memory"} - set(given)))
    for name in sorted({*requests, *limits}):
        asked, most = requests.get(name), limits.get(name)
        if asked is not None and most is not None and parse_quantity(asked) > parse_quantity(most):
            yield f"asks for {asked} of {name}, may have {most}"
        if "/" in name and asked != most:
            yield f"asks for {asked} of {name}, may have {most}: a device is asked for as it is limited"


def images_are_pinned_and_fit_their_commands(manifests: Sequence[Manifest]) -> list[str]:
    """Images have a digest or a version, and hold what the container runs."""
    problems = []
    for pod in pods(manifests):
        for container in pod.containers():
            where, image = f"{pod.source} container {container['name']}", container.get("image", "")
            name, command = re.split("[:@]", image.rpartition("/")[2])[0], " ".join(container.get("command", ()))
            if not _is_pinned(image):
                problems.append(f"{where}: image {image!r} is not pinned")
            fitting = _IMAGES.get(command) if command else {"storage-initializer"}
            if fitting is None:
                problems.append(f"{where}: unknown command {command!r}")
            elif name not in {each.rpartition("/")[2] for each in fitting}:
                problems.append(f"{where}: {command or 'no command'!r} in image {image!r}")
    return problems


def _is_pinned(image: str) -> bool:
    if re.search(r"@sha256:[0-9a-f]{64}$", image):
        return True
    tag = image.rpartition("/")[2].partition(":")[2]
    return bool(tag) and tag != "latest"


def mounts_and_volumes_agree(manifests: Sequence[Manifest]) -> list[str]:
    """Mounts name declared volumes, each path once; volumes are declared once and mounted; folders have a size."""
    problems = []
    for pod in pods(manifests):
        volumes = [volume["name"] for volume in pod.spec.get("volumes", ())]
        mounted = {mount["name"] for c in pod.containers() for mount in c.get("volumeMounts", ())}
        problems += [f"{pod.source}: volume {name} declared twice" for name in _twice(volumes)]
        problems += [f"{pod.source}: volume {name} is mounted nowhere" for name in sorted(set(volumes) - mounted)]
        for container in pod.containers():
            where, mounts = f"{pod.source} container {container['name']}", container.get("volumeMounts", ())
            problems += [f"{where}: no volume {m['name']}" for m in mounts if m["name"] not in volumes]
            problems += [f"{where}: {path} mounted twice" for path in _twice([m["mountPath"] for m in mounts])]
            problems += [f"{where}: variable {name} set twice" for name in _twice(_variables(container))]
        for volume in pod.spec.get("volumes", ()):
            # KServe adds the release's volume itself; the limits of ephemeral storage bound that.
            if volume.get("emptyDir") == {} and volume["name"] != "kserve-provision-location":
                problems.append(f"{pod.source}: volume {volume['name']} without a size")
    return problems


def _variables(container: Mapping[str, Any]) -> list[str]:
    return [variable["name"] for variable in container.get("env", ())]


def _twice(names: Sequence[Any]) -> list[Any]:
    return sorted({name for name in names if names.count(name) > 1})


def folders_that_are_written_are_writable(manifests: Sequence[Manifest]) -> list[str]:
    """With a read-only root, what flags and variables name for writing lies in a mount that may be written."""
    problems = []
    for pod in pods(manifests):
        for container in pod.containers():
            writable = [m["mountPath"] for m in container.get("volumeMounts", ()) if not m.get("readOnly")]
            values = {v["name"]: v.get("value", "") for v in container.get("env", ())} | flags(container)
            for name in ("HOME", "PROMETHEUS_MULTIPROC_DIR", "--state", "--log_folder", "-dir"):
                if name in values and not any(_inside(values[name], folder) for folder in writable):
                    where = f"{pod.source} container {container['name']}"
                    problems.append(f"{where}: {name} is {values[name]!r}, which cannot be written")
    return problems


def _inside(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")


def probes_ask_ports_that_are_there(manifests: Sequence[Manifest]) -> list[str]:
    """Probes ask declared ports; no port or port's name is taken twice in a pod; probes wait and repeat."""
    problems = []
    for pod in pods(manifests):
        declared = [port for c in pod.containers() for port in c.get("ports", ())]
        taken = [port["containerPort"] for port in declared]
        problems += [f"{pod.source}: port {port} taken twice" for port in _twice(taken)]
        problems += [
            f"{pod.source}: port {port['containerPort']} for {port['protocol']}"
            for port in declared
            if port.get("protocol", "TCP") != "TCP"
        ]
        problems += [
            f"{pod.source}: port name {name} taken twice" for name in _twice([p.get("name") for p in declared])
        ]
        for container in pod.containers():
            where = f"{pod.source} container {container['name']}"
            ports = {p[field] for p in container.get("ports", ()) for field in ("name", "containerPort") if field in p}
            for probe in (name for name in _PROBES if name in container):
                asked = container[probe].get("httpGet") or container[probe].get("tcpSocket") or {}
                if asked.get("port") not in ports:
                    problems.append(f"{where}: {probe} asks port {asked.get('port')}, which it doesn't have")
                if asked.get("scheme", "HTTP") != "HTTP":
                    problems.append(f"{where}: {probe} asks by {asked['scheme']}, which nobody speaks there")
                if container[probe].get("failureThreshold", 3) < 1 or container[probe].get("periodSeconds", 10) < 1:
                    problems.append(f"{where}: {probe} fails after none")
                if container[probe].get("timeoutSeconds", 1) > container[probe].get("periodSeconds", 10) * 2:
                    problems.append(f"{where}: {probe} waits longer than two of its periods")
    return problems


def shared_memory_is_sized(manifests: Sequence[Manifest]) -> list[str]:
    """Whatever runs tritonserver has a memory volume at /dev/shm, large enough and within the container's limit."""
    problems = []
    for pod in pods(manifests):
        sizes = {
            volume["name"]: parse_quantity(volume["emptyDir"]["sizeLimit"])
            for volume in pod.spec.get("volumes", ())
            if volume.get("emptyDir", {}).get("medium") == "Memory" and "sizeLimit" in volume["emptyDir"]
        }
        for container in (c for c in pod.containers() if c.get("command") == ["tritonserver"]):
            mounts = {m["mountPath"]: m["name"] for m in container.get("volumeMounts", ())}
            size = sizes.get(mounts.get("/dev/shm", ""))
            limit = parse_quantity(container.get("resources", {}).get("limits", {}).get("memory", "0"))
            if size is None:
                problems.append(f"{pod.source}: no sized memory volume at /dev/shm")
            elif not _SHARED_MEMORY <= size <= limit / 2:
                problems.append(
                    f"{pod.source}: /dev/shm of {size} bytes; at least {_SHARED_MEMORY}, at most half {limit}"
                )
    return problems


def gpu_pods_go_to_gpu_nodes(manifests: Sequence[Manifest]) -> list[str]:
    """A pod that asks for a GPU chooses and tolerates GPU nodes; no other pod does."""
    problems = []
    for pod in pods(manifests):
        asks = any(_GPU in c.get("resources", {}).get("limits", {}) for c in pod.containers())
        chooses = f"{_GPU}.present" in pod.spec.get("nodeSelector", {})
        tolerates = any(
            t.get("key") == _GPU and t.get("effect") == "NoSchedule" for t in pod.spec.get("tolerations", ())
        )
        for container in pod.containers():
            if _GPU in container.get("resources", {}).get("limits", {}) and container.get("command") != [
                "tritonserver"
            ]:
                problems.append(f"{pod.source} container {container['name']}: a GPU that nothing in it uses")
        if not asks == chooses == tolerates:
            found = f"asks for a GPU: {asks}, chooses such nodes: {chooses}, tolerates their taint: {tolerates}"
            problems.append(f"{pod.source}: {found}")
    return problems


RULES: tuple[Callable[[Sequence[Manifest]], list[str]], ...] = (
    pods_are_restricted,
    accounts_exist_and_keep_their_tokens,
    containers_are_bounded,
    images_are_pinned_and_fit_their_commands,
    mounts_and_volumes_agree,
    folders_that_are_written_are_writable,
    probes_ask_ports_that_are_there,
    shared_memory_is_sized,
    gpu_pods_go_to_gpu_nodes,
)
