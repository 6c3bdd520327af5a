"""Rules about traffic: what is selected, what is denied, and that allowances are those of manifests/README.md."""

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.manifests.controller import Manifest
from tests.manifests.pods import name_of, pods

README = Path(__file__).resolve().parents[2] / "manifests" / "README.md"
# Pods that other systems make in our namespace carry their labels.
_FOREIGN_LABELS = ({"pipelines.kubeflow.org/v2_component": "true"},)
# What the page calls the two ends of an allowance.
_NAMES = {
    "": "every pod",
    "pods app.kubernetes.io/component=server": "the serving pod",
    "pods app.kubernetes.io/component=object-store": "the object store",
    "pods pipelines.kubeflow.org/v2_component=true": "pipeline steps",
    "namespaces archipelago/inference-client=true": "namespaces labelled `archipelago/inference-client`",
    "namespaces archipelago/metrics-client=true": "namespaces labelled `archipelago/metrics-client`",
    "namespaces kubernetes.io/metadata.name=kubeflow": "namespace `kubeflow`",
    "namespaces kubernetes.io/metadata.name=kube-system pods k8s-app=kube-dns": "cluster DNS",
}
Allowance = tuple[str, str, str, str]


def selectors_select_something(manifests: Sequence[Manifest]) -> list[str]:
    """What selects pods selects one of ours, or one that a known system makes in our namespace."""
    known = [pod.labels for pod in pods(manifests)] + list(_FOREIGN_LABELS)
    problems = []
    for manifest in manifests:
        field = {"NetworkPolicy": "podSelector", "PodDisruptionBudget": "selector", "PodMonitor": "selector"}
        if manifest["kind"] in field:
            selector = manifest["spec"][field[manifest["kind"]]].get("matchLabels", {})
            if not any(selector.items() <= labels.items() for labels in known):
                problems.append(f"{name_of(manifest)}: its selector {selector} matches no pod")
    for pod in pods(manifests):
        for spread in pod.spec.get("topologySpreadConstraints", ()):
            if not spread["labelSelector"]["matchLabels"].items() <= pod.labels.items():
                problems.append(f"{pod.source}: spread by labels that it doesn't have")
    return problems


def monitors_scrape_ports_that_are_there(manifests: Sequence[Manifest]) -> list[str]:
    """A PodMonitor's endpoints are named ports of the pods it selects, at their metrics' path."""
    problems = []
    for monitor in (m for m in manifests if m["kind"] == "PodMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        selected = [pod for pod in pods(manifests) if wanted <= pod.labels.items()]
        ports = {p.get("name") for pod in selected for c in pod.containers() for p in c.get("ports", ())}
        for endpoint in monitor["spec"]["podMetricsEndpoints"]:
            if endpoint.get("port") not in ports:
                problems.append(f"{name_of(monitor)}: scrapes port {endpoint.get('port')}, which no pod has")
            if endpoint.get("path", "/metrics") != "/metrics":
                problems.append(f"{name_of(monitor)}: scrapes {endpoint['path']}")
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


def addresses_and_ports_are_real(manifests: Sequence[Manifest]) -> list[str]:
    """Blocks are networks, what they except lies inside them, protocols and ports exist, and types match the rules."""
    problems = []
    for policy in (m for m in manifests if m["kind"] == "NetworkPolicy"):
        where, spec = name_of(policy), policy["spec"]
        directions = {kind for kind in ("Ingress", "Egress") if kind.lower() in spec}
        if directions and directions != set(spec.get("policyTypes", ())):
            problems.append(f"{where}: rules of {sorted(directions)}, types {spec.get('policyTypes')}")
        for _, peers, ports in _rules(spec):
            problems += [f"{where}: {fault}" for peer in peers for fault in _unreal_block(peer.get("ipBlock", {}))]
            for port in ports:
                if port.get("protocol", "TCP") not in ("TCP", "UDP", "SCTP"):
                    problems.append(f"{where}: protocol {port['protocol']}")
                if not isinstance(port.get("port"), int) or not 1 <= port["port"] <= 65535:
                    problems.append(f"{where}: port {port.get('port')}")
    return problems


def _unreal_block(block: Mapping[str, Any]) -> Iterator[str]:
    if not block:
        return
    try:
        network = ipaddress.ip_network(block["cidr"])
        for left_out in map(ipaddress.ip_network, block.get("except", ())):
            if network.version != left_out.version or not left_out.subnet_of(network):  # type: ignore[arg-type]
                yield f"{left_out} is not in {network}"
    except ValueError as error:
        yield f"no network: {error}"


def _rules(spec: Mapping[str, Any]) -> Iterator[tuple[str, Sequence[Mapping[str, Any]], Sequence[Mapping[str, Any]]]]:
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        for rule in spec.get(direction, ()):
            yield direction, rule.get(peers, ()), rule.get("ports", ())


def allowances(manifests: Sequence[Manifest]) -> set[Allowance]:
    """Each allowance as (from, to, ports, policy), in the page's words."""
    found = set()
    for policy in (m for m in manifests if m["kind"] == "NetworkPolicy"):
        spec = policy["spec"]
        ours = _end({"podSelector": spec["podSelector"]} if spec["podSelector"] else {})
        for direction, peers, ports in _rules(spec):
            said = ", ".join(_port(port) for port in ports)
            for peer in peers:
                ends = (_end(peer), ours) if direction == "ingress" else (ours, _end(peer))
                found.add((*ends, said, policy["metadata"]["name"]))
    return found


def _port(port: Mapping[str, Any]) -> str:
    to = f"-{port['endPort']}" if "endPort" in port else ""
    return f"{port.get('port')}{to}/{port.get('protocol', 'TCP')}"


def _end(peer: Mapping[str, Any]) -> str:
    if "ipBlock" in peer:
        left_out = peer["ipBlock"].get("except", [])
        return f"{peer['ipBlock']['cidr']}{' but ' + ', '.join(left_out) if left_out else ''}"
    selectors = {"namespaces": peer.get("namespaceSelector"), "pods": peer.get("podSelector")}
    written = " ".join(
        f"{kind} {label}={value}"
        for kind, selector in selectors.items()
        if selector is not None
        for label, value in (selector.get("matchLabels") or {"": "any"}).items()
    )
    return _NAMES.get(written, written)


def allowances_of_the_page(rendering: str) -> set[Allowance]:
    """The table under "Who may talk to whom": rows that hold in a rendering."""
    section = README.read_text(encoding="utf-8").partition("\n## Who may talk to whom\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.+?) \| (.+?) \| (.+?) \| (.+?) \| (.+?) \| .* \|$", section, re.MULTILINE)
    return {
        (source, target, ports, policy.strip("`"))
        for source, target, ports, policy, where in rows
        if rendering.rpartition("/")[2] in where.split(", ")
    }


def traffic_is_what_the_page_says(manifests: Sequence[Manifest], rendering: str) -> list[str]:
    """Allowances are exactly those of the page's table; an overlay that the page doesn't know has its own."""
    said = allowances_of_the_page(rendering)
    found = allowances(manifests)
    if not said:
        return []
    return [f"the page doesn't allow {one}" for one in sorted(found - said)] + [
        f"the page promises {one}" for one in sorted(said - found)
    ]


RULES: tuple[Callable[[Sequence[Manifest]], list[str]], ...] = (
    selectors_select_something,
    monitors_scrape_ports_that_are_there,
    traffic_is_denied_by_default,
    addresses_and_ports_are_real,
)
