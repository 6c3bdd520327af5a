"""A pod under docker: its containers side by side with what its manifest says of them, and stopped as a kubelet does.

Every field of the pod is carried over, or named in `_LEFT_OUT` with the reason; one that is neither is an error, so
that no new field of a manifest is passed over in silence.
"""

import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kubernetes.utils.quantity import parse_quantity

from tests.containers.docker_daemon import docker

Spec = Mapping[str, Any]

# In the pod's network namespace, as another pod sees it: not the address on which containers speak among themselves.
POD_ADDRESS = "127.0.0.2"
_LEFT_OUT = {
    "pod": {
        "initContainers": "what the storage initializer fetches is mounted",
        "serviceAccountName": "there is no API server",
        "automountServiceAccountToken": "nothing is mounted but what is said",
        "nodeSelector": "there is one node",
        "tolerations": "there is one node",
        "topologySpreadConstraints": "there is one node",
    },
    "container": {
        "ports": "a declaration; the containers share one network namespace",
        "startupProbe": "see `Pod.wait_until`",
        "readinessProbe": "see `Pod.probe`",
        "livenessProbe": "see `Pod.probe`",
        "lifecycle": "see `Pod.stop`",
    },
    "resources": {"requests": "for the scheduler", "limits ephemeral-storage": "overlay2 has no quota here"},
}


class Unknown(Exception):
    """A field of a manifest that is neither carried over nor left out for a reason."""


def _carried(what: str, given: Spec, *known: str) -> None:
    if surplus := sorted(set(given) - set(known) - set(_LEFT_OUT.get(what, {}))):
        raise Unknown(f"{what}: {', '.join(surplus)}")


@dataclass
class Pod:
    """A running pod. Containers are named `<pod>-<container>`; `<pod>-pause` holds what they share."""

    host: str
    name: str
    spec: Spec
    pid: int = field(default=0)

    def container(self, name: str) -> Spec:
        """A container's part of the spec."""
        found: Spec = next(c for c in self.spec["containers"] if c["name"] == name)
        return found

    def inside(self, *command: str, timeout: float = 120, **options: Any) -> "subprocess.CompletedProcess[str]":
        """Run a command of this machine in the pod's network namespace."""
        entered = ["nsenter", f"--net=/proc/{self.pid}/ns/net", *command]
        return subprocess.run(entered, capture_output=True, text=True, timeout=timeout, **options)

    def status(self, port: int, path: str, address: str = POD_ADDRESS, timeout: float = 2) -> int:
        """HTTP status of a GET in the pod's network; 0 where nobody answers in time."""
        asked = ["curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}", "--max-time", str(timeout)]
        return int(self.inside(*asked, f"http://{address}:{port}{path}").stdout or 0)

    def probe(self, container: str, probe: str) -> bool:
        """One try of a container's probe, as the kubelet makes it."""
        spec = self.container(container)
        _carried(
            probe, spec[probe], "httpGet", "periodSeconds", "timeoutSeconds", "failureThreshold", "successThreshold"
        )
        asked = spec[probe]["httpGet"]
        _carried("httpGet", asked, "path", "port")
        ports = {
            name: port["containerPort"] for port in spec["ports"] for name in (port["name"], port["containerPort"])
        }
        status = self.status(ports[asked["port"]], asked["path"], timeout=spec[probe].get("timeoutSeconds", 1))
        return 200 <= status < 400

    def wait_until(self, ready: bool) -> float:
        """Seconds until every readiness probe says so; fails after the time that startup probes allow."""
        probes = [(c["name"], p) for c in self.spec["containers"] for p in ("startupProbe", "readinessProbe") if p in c]
        startups = [c["startupProbe"] for c in self.spec["containers"] if "startupProbe" in c]
        allowed = max(p["failureThreshold"] * p.get("periodSeconds", 10) for p in startups)
        begun = time.monotonic()
        while time.monotonic() < begun + allowed:
            if all(self.probe(*each) for each in probes) == ready:
                return time.monotonic() - begun
            for container in self.spec["containers"] if ready else ():
                if not self.running(container["name"]):
                    raise AssertionError(f"{container['name']} ended:\n{self.log(container['name'])}")
            time.sleep(0.5)
        raise AssertionError("\n".join(self.log(container["name"]) for container in self.spec["containers"]))

    def running(self, container: str) -> bool:
        """Whether a container's process is there."""
        state = docker("inspect", "--format", "{{.State.Running}}", f"{self.name}-{container}", host=self.host)
        return state.strip() == "true"

    def log(self, container: str) -> str:
        """The end of what a container printed."""
        done = subprocess.run(
            ["docker", "--host", self.host, "logs", "--tail", "40", f"{self.name}-{container}"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60,
        )  # fmt: skip
        return done.stdout

    def signal(self, container: str, signal: str) -> None:
        """Send a signal ("KILL", "STOP" ...) to a container's first process."""
        docker("kill", "--signal", signal, f"{self.name}-{container}", host=self.host)

    def restart(self, container: str) -> None:
        """Start a container that ended, as the kubelet does."""
        docker("start", f"{self.name}-{container}", host=self.host)

    def stop(self) -> dict[str, int]:
        """End the pod: every container's preStop, then SIGTERM, then SIGKILL at the end of the grace.

        Returns:
            Exit codes by container.
        """
        grace, begun = self.spec.get("terminationGracePeriodSeconds", 30), time.monotonic()

        def end(container: Spec) -> int:
            name, before = f"{self.name}-{container['name']}", container.get("lifecycle", {})
            _carried("lifecycle", before, "preStop")
            if before:
                _carried("preStop", before["preStop"], "sleep")
                time.sleep(before["preStop"]["sleep"]["seconds"])
            left = max(1, int(grace - (time.monotonic() - begun)))
            docker("stop", "--time", str(left), name, host=self.host, timeout=grace + 30)
            return int(docker("inspect", "--format", "{{.State.ExitCode}}", name, host=self.host))

        containers = self.spec["containers"]
        with ThreadPoolExecutor(len(containers)) as together:
            codes = list(together.map(end, containers))
        return {container["name"]: code for container, code in zip(containers, codes, strict=True)}


@contextmanager
def running_pod(host: str, name: str, template: Spec, pause_image: str, folders: Mapping[str, Path]) -> Iterator[Pod]:
    """Start a pod and remove it in the end.

    Args:
        host: DOCKER_HOST.
        name: of the pod; containers' and volumes' names begin with it.
        template: a Deployment's, with `spec` in it.
        pause_image: any image with `sleep`: its container holds the namespaces that the others share.
        folders: what lies in volumes that something outside of the pod fills, by the volume's name.

    Raises:
        Unknown: a field that this module doesn't know.
    """
    spec = template["spec"]
    _carried("pod", spec, "containers", "volumes", "securityContext", "terminationGracePeriodSeconds")
    context = spec.get("securityContext", {})
    _carried("pod's securityContext", context, "fsGroup", "runAsNonRoot", "seccompProfile")
    shared = f"{name}-pause"
    made = [shared]
    volumes: list[str] = []
    try:
        docker("run", "--detach", "--name", shared, "--network", "none", "--ipc", "shareable", "--entrypoint", "sleep",
               pause_image, "infinity", host=host)  # fmt: skip
        pid = int(docker("inspect", "--format", "{{.State.Pid}}", shared, host=host))
        places = {}
        for volume in spec.get("volumes", ()):
            if volume["name"] in folders:
                places[volume["name"]] = str(folders[volume["name"]])
            else:
                places[volume["name"]] = _empty_dir(host, name, volume, context["fsGroup"])
                volumes.append(places[volume["name"]])
        for container in spec["containers"]:
            made.append(f"{name}-{container['name']}")
            docker("run", "--detach", "--name", made[-1], f"--network=container:{shared}", f"--ipc=container:{shared}",
                   *_options(container, context, places), host=host)  # fmt: skip
        yield Pod(host, name, spec, pid)
    finally:
        docker("rm", "--force", *reversed(made), host=host)
        if volumes:
            docker("volume", "rm", "--force", *volumes, host=host)


def _empty_dir(host: str, pod: str, volume: Spec, group: int) -> str:
    """A volume in memory for an emptyDir: of its size, and the pod's group may write into it."""
    _carried("volume", volume, "name", "emptyDir")
    _carried("emptyDir", volume["emptyDir"], "sizeLimit", "medium")
    options = f"size={int(parse_quantity(volume['emptyDir']['sizeLimit']))},mode=2777,gid={group}"
    named = f"{pod}-{volume['name']}"
    docker(
        "volume", "create", "--opt", "type=tmpfs", "--opt", "device=tmpfs", "--opt", f"o={options}", named, host=host
    )
    return named


def _options(container: Spec, pods_context: Spec, places: Mapping[str, str]) -> Sequence[str]:
    """`docker run`'s arguments for a container."""
    known = ("name", "image", "command", "args", "env", "resources", "securityContext", "volumeMounts")
    _carried("container", container, *known)
    entry, *command = container["command"]
    options = ["--entrypoint", entry, *_security(container["securityContext"], pods_context)]
    for variable in container.get("env", ()):
        _carried("env", variable, "name", "value")
        options += ["--env", f"{variable['name']}={variable['value']}"]
    _carried("resources", container["resources"], "limits")
    for resource, limit in container["resources"]["limits"].items():
        if resource == "cpu":
            options += ["--cpus", str(parse_quantity(limit))]
        elif resource == "memory":
            options += ["--memory", str(int(parse_quantity(limit)))]
        else:
            _carried("resources", {f"limits {resource}": limit})
    for mount in container["volumeMounts"]:
        _carried("volumeMount", mount, "name", "mountPath", "readOnly")
        read_only = ":ro" if mount.get("readOnly") else ""
        options += ["--volume", f"{places[mount['name']]}:{mount['mountPath']}{read_only}"]
    return [*options, container["image"], *command, *container.get("args", ())]


def _security(context: Spec, pods: Spec) -> Iterator[str]:
    known = ("runAsUser", "runAsGroup", "runAsNonRoot", "readOnlyRootFilesystem", "allowPrivilegeEscalation")
    _carried("securityContext", context, *known, "capabilities", "seccompProfile")
    for profile in (context.get("seccompProfile"), pods.get("seccompProfile")):
        if profile not in (None, {"type": "RuntimeDefault"}):  # docker's own
            raise Unknown(f"seccompProfile: {profile}")
    assert context["runAsUser"] != 0
    yield from ("--user", f"{context['runAsUser']}:{context['runAsGroup']}", "--group-add", str(pods["fsGroup"]))
    if context.get("readOnlyRootFilesystem"):
        yield "--read-only"
    if context.get("allowPrivilegeEscalation") is False:
        yield from ("--security-opt", "no-new-privileges")
    _carried("capabilities", context["capabilities"], "drop")
    for capability in context["capabilities"]["drop"]:
        yield from ("--cap-drop", capability)
