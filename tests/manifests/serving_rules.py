"""Rules about what serves: runtime, release, flags with their ports and paths, order of ending, scaling."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from tests.manifests.controller import RELEASE_MOUNT, Manifest, made_by_kserve, runtime_of, storage_container_of
from tests.manifests.pods import Pod, flags, name_of, pods

_RELEASE_URI = re.compile(r"(s3|gs|https|pvc)://[^/]+(/\w[\w.-]*)*/[0-9a-f]{12}")
# A container's flags that open a port: the name of the port, or None where the pod alone may reach it.
_LISTENERS: dict[str, dict[str, str | None]] = {
    "kserve-container": {"--metrics-port": "metrics", "--grpc-port": None, "--http-port": None},
    "transformer-container": {"--http_port": "http", "--grpc_port": "grpc"},
}
_READY, _LIVE, _METRICS = "/v2/health/ready", "/v2/health/live", "/metrics"
# Triton's REST is the pod's own: its probes ask the port of its metrics, which answers as soon as it serves.
_PROBED = {
    ("kserve-container", "startupProbe"): ("metrics", _METRICS),
    ("kserve-container", "livenessProbe"): ("metrics", _METRICS),
    ("transformer-container", "startupProbe"): ("http", _READY),
    ("transformer-container", "readinessProbe"): ("http", _READY),
    ("transformer-container", "livenessProbe"): ("http", _LIVE),
}


def services_fit_their_runtime(manifests: Sequence[Manifest]) -> list[str]:
    """An InferenceService's runtime exists and takes its format and protocol, in Standard mode."""
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
    return problems


def flags_fit_ports_and_paths(manifests: Sequence[Manifest]) -> list[str]:
    """What a flag opens or reads is what ports, probes and mounts of the same pod say."""
    return [f"{pod.source}: {problem}" for pod in _serving_pods(manifests) for problem in _unconnected(pod)]


def _serving_pods(manifests: Sequence[Manifest]) -> list[Pod]:
    return [pod for pod in pods(manifests) if pod.container("kserve-container")]


def _unconnected(pod: Pod) -> Iterator[str]:
    for name in _LISTENERS:
        named = [argument.partition("=")[0] for argument in pod.container(name).get("args", ())]
        again = sorted({flag for flag in named if named.count(flag) > 1} - {"--load-model"})
        if again:
            yield f"flags {again} of {name} given twice"
    triton, transformer = (flags(pod.container(name)) for name in _LISTENERS)
    yield from _ports_apart(pod)
    for asked, port in (("--predictor_host", "--grpc-port"), ("--predictor_http", "--http-port")):
        wanted = f"localhost:{triton.get(port)}"
        if transformer.get(asked) != wanted:
            yield f"its transformer asks {transformer.get(asked)}, Triton listens on {wanted}"
    # Whoever reaches these ports may unload models: nobody outside the pod does.
    for address, wanted in (
        ("--grpc-address", "127.0.0.1"),
        ("--http-address", "127.0.0.1"),
        ("--metrics-address", "0.0.0.0"),
    ):
        if triton.get(address) != wanted:
            yield f"its Triton's {address} is {triton.get(address)}, not {wanted}"
    if transformer.get("--host") != "0.0.0.0":
        yield f"its transformer listens on {transformer.get('--host')}, where nobody reaches it"
    if transformer.get("--predictor_protocol") != "grpc-v2":
        yield f"its transformer speaks {transformer.get('--predictor_protocol')} with Triton, not grpc-v2"
    if triton.get("--model-control-mode") != "explicit" or not triton.get("--load-model"):
        yield "its Triton cannot load a model anew"
    for name, found, wanted in (
        ("transformer's --release", transformer.get("--release"), RELEASE_MOUNT),
        ("Triton's --model-repository", triton.get("--model-repository"), f"{RELEASE_MOUNT}/triton"),
    ):
        if found != wanted:
            yield f"its {name} is {found}, the release's is {wanted}"


def _ports_apart(pod: Pod) -> Iterator[str]:
    """Flags that open ports, against the ports that are declared and the probes that ask them."""
    opened: list[str] = []
    for name, listeners in _LISTENERS.items():
        container, given = pod.container(name), flags(pod.container(name))
        declared = {port.get("name"): str(port["containerPort"]) for port in container.get("ports", ())}
        for flag, port in listeners.items():
            opened.append(given.get(flag, ""))
            if port is not None and declared.get(port) != given.get(flag):
                yield f"{flag} is {given.get(flag)}, port {port} is {declared.get(port)}"
        surplus = sorted(str(port) for port in set(declared) - {port for port in listeners.values() if port})
        if surplus:
            yield f"ports {surplus} of {name}, which no flag opens"
        for (owner, probe), (port, path) in _PROBED.items():
            asked = container.get(probe, {}).get("httpGet", {})
            if owner == name and asked.get("path") != path:
                yield f"{probe} of {name} asks path {asked.get('path')}, not {path}"
            if owner == name and str(asked.get("port")) not in (port, declared.get(port)):
                yield f"{probe} of {name} asks port {asked.get('port')}, not {port}"
    if len(set(opened)) < len(opened):
        yield f"two of its flags open one port: {sorted(opened)}"


def services_offer_what_pods_have(manifests: Sequence[Manifest]) -> list[str]:
    """KServe's Service has REST as 80 and gRPC beside it; every Service selects a pod and leads to ports of it."""
    problems, known = [], list(pods(manifests))
    made = [m for m in made_by_kserve(manifests) if m["kind"] == "Service"]
    for service in (*manifests, *made):
        if service["kind"] != "Service":
            continue
        selector = service["spec"].get("selector", {})
        selected = [pod for pod in known if selector.items() <= pod.labels.items()]
        if not selector or not selected:
            problems.append(f"{name_of(service)}: its selector {selector} matches no pod")
        for pod in selected:
            ports = [p for c in pod.containers() for p in c.get("ports", ())]
            there = {p[field] for p in ports for field in ("name", "containerPort") if field in p}
            wanted = [port.get("targetPort", port["port"]) for port in service["spec"]["ports"]]
            problems += [f"{name_of(service)}: leads to port {p}, which no pod has" for p in wanted if p not in there]
    for service in made:
        names = [(port["port"], port["name"]) for port in service["spec"]["ports"]]
        if [name for _, name in names] != ["http", "grpc"]:
            problems.append(f"{name_of(service)}: port 80 and the next lead to {names}, not http and grpc")
    return problems


def servers_end_in_order(manifests: Sequence[Manifest]) -> list[str]:
    """A pod has time for the slowest request, and its Triton ends after the transformer that asks it."""
    problems = []
    slowest = max(m["spec"]["predictor"].get("timeout", 0) for m in manifests if m["kind"] == "InferenceService")
    for pod in _serving_pods(manifests):
        triton, transformer = pod.container("kserve-container"), pod.container("transformer-container")
        told = {name: _pre_stop_seconds(each) for name, each in (("Triton", triton), ("transformer", transformer))}
        if told["transformer"] < 1:
            problems.append(f"{pod.source}: its transformer ends while it is still sent requests")
        if told["Triton"] <= told["transformer"] + slowest:
            problems.append(f"{pod.source}: its Triton ends before the slowest request of its transformer")
        needed = told["Triton"] + int(flags(triton).get("--exit-timeout-secs", 0))
        if pod.spec.get("terminationGracePeriodSeconds", 30) <= needed:
            problems.append(f"{pod.source}: needs more than {needed} s to end")
    return problems


def replicas_follow_one_rule(manifests: Sequence[Manifest]) -> list[str]:
    """Bounds in order; a scaler named has its metric, in the form that KServe hands on; a budget leaves room."""
    problems = []
    for service in (m for m in manifests if m["kind"] == "InferenceService"):
        where, predictor = name_of(service), service["spec"]["predictor"]
        least, most = predictor.get("minReplicas", 1), predictor.get("maxReplicas", 0)
        by = service["metadata"].get("annotations", {}).get("serving.kserve.io/autoscalerClass", "hpa")
        metrics = predictor.get("autoScaling", {}).get("metrics", [])
        if not 1 <= least <= most:
            problems.append(f"{where}: from {least} to {most} replicas")
        if by not in ("keda", "none"):
            problems.append(f"{where}: scaled by {by}, which would follow the CPU")
        if (by == "keda") != bool(metrics):
            problems.append(f"{where}: scaled by {by} with {len(metrics)} metrics")
        if "scaleMetric" in predictor or "scaleTarget" in predictor:
            problems.append(f"{where}: a metric of the HPA beside {by}")
        if least > 1 and predictor.get("deploymentStrategy", {}).get("type") == "Recreate":
            problems.append(f"{where}: {least} replicas that all go before a new one comes")
        if by == "none" and least != most:
            problems.append(f"{where}: from {least} to {most} replicas, and nothing that scales it")
        problems += [f"{where}: {problem}" for metric in metrics for problem in _unread_metric(metric)]
        for budget in (m["spec"] for m in manifests if m["kind"] == "PodDisruptionBudget"):
            if not 1 <= budget.get("maxUnavailable", 0) < least:
                problems.append(f"{where}: {least} replicas, of which a budget lets {budget.get('maxUnavailable')} go")
    return problems


def _unread_metric(metric: Mapping[str, Any]) -> Iterator[str]:
    if metric["type"] != "External":
        yield f"scaled by a metric of type {metric['type']}"
        return
    source, target = metric["external"]["metric"], metric["external"]["target"]
    if source.get("backend") != "prometheus" or not str(source.get("serverAddress")).startswith("http"):
        yield f"scaled by {source.get('backend')} at {source.get('serverAddress')}"
    if "archipelago_" not in source.get("query", ""):
        yield f"scaled by the query {source.get('query')!r}, which reads no metric of ours"
    if target.get("type") != "Value" or float(target.get("value", 0)) <= 0:
        yield f"scaled to the target {dict(target)}: KServe hands on `value` alone"


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
        elif not _RELEASE_URI.fullmatch(uri):
            problems.append(f"{name_of(service)}: {uri} names no release in a bucket")
        elif container["spec"].get("workloadType", "initContainer") != "initContainer":
            problems.append(f"{name_of(service)}: its storage container is for {container['spec']['workloadType']}")
    return problems


def _takes(format_: Mapping[str, str], uri: str) -> bool:
    return uri.startswith(format_["prefix"]) if "prefix" in format_ else bool(re.match(format_["regex"], uri))


def _pre_stop_seconds(container: Mapping[str, Any]) -> int:
    return int(container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0))


RULES: tuple[Callable[[Sequence[Manifest]], list[str]], ...] = (
    services_fit_their_runtime,
    flags_fit_ports_and_paths,
    services_offer_what_pods_have,
    servers_end_in_order,
    replicas_follow_one_rule,
    releases_are_fetched_by_our_container,
)
