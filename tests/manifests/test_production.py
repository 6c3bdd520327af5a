"""What production has and a laptop need not: it survives a node and a zone, and nothing of it is secret or floating."""

import ipaddress
import re
from collections.abc import Iterator
from typing import Any

import pytest

from components.contracts.releases import ONLINE_STORE
from tests.manifests.pods import Pod, flags, pods
from tests.manifests.rendering import RENDERINGS, render

Object = dict[str, Any]
PRODUCTION = "overlays/production"


@pytest.fixture(scope="module")
def production() -> list[Object]:
    return render(PRODUCTION)


@pytest.fixture(scope="module")
def pod(production: list[Object]) -> Pod:
    """The serving pod, the only one."""
    (only,) = pods(production)
    return only


def one(manifests: list[Object], kind: str) -> Object:
    (only,) = (m for m in manifests if m["kind"] == kind)
    return only


def external_secret(manifests: list[Object], makes: str) -> Object:
    """Spec of the ExternalSecret that makes a secret of this name."""
    specs = (m["spec"] for m in manifests if m["kind"] == "ExternalSecret")
    (only,) = (spec for spec in specs if spec["target"]["name"] == makes)
    return dict(only)


def gib(quantity: str) -> float:
    """A quantity in Mi or Gi, as GiB."""
    return int(quantity[:-2]) * {"Mi": 1 / 1024, "Gi": 1}[quantity[-2:]]


def secret_names(value: Any) -> Iterator[str]:
    """Names of secrets that a manifest reads."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in ("secretKeyRef", "secretRef"):
                yield inner["name"]
            elif key == "secret" and "secretName" in inner:
                yield inner["secretName"]
            else:
                yield from secret_names(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from secret_names(inner)


def test_one_pod_may_go_at_any_time(production: list[Object], pod: Pod) -> None:
    spec = one(production, "InferenceService")["spec"]["predictor"]
    assert spec["minReplicas"] >= 2
    budget = one(production, "PodDisruptionBudget")["spec"]
    assert budget["selector"]["matchLabels"].items() <= pod.labels.items()
    # A drain may take one and never has to wait for another replica; a broken pod doesn't hold a node.
    assert (budget["maxUnavailable"], budget["unhealthyPodEvictionPolicy"]) == (1, "AlwaysAllow")
    assert "minAvailable" not in budget
    # A release takes away no pod before the next is ready.
    assert spec["deploymentStrategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_replicas_lie_in_all_zones_and_on_many_nodes(pod: Pod) -> None:
    spread = {c["topologyKey"]: c for c in pod.spec["topologySpreadConstraints"]}
    zones, nodes = spread["topology.kubernetes.io/zone"], spread["kubernetes.io/hostname"]
    assert (zones["maxSkew"], zones["whenUnsatisfiable"]) == (1, "DoNotSchedule")
    assert zones["nodeTaintsPolicy"] == "Honor"  # else a zone that is gone keeps new pods from the one that is left
    assert (nodes["maxSkew"], nodes["whenUnsatisfiable"]) == (1, "ScheduleAnyway")
    for constraint in spread.values():
        assert constraint["labelSelector"]["matchLabels"].items() <= pod.labels.items()
        assert constraint["matchLabelKeys"] == ["pod-template-hash"]


def test_every_image_is_named_by_digest(pod: Pod) -> None:
    for container in pod.containers():
        assert re.fullmatch(r"[\w./-]+@sha256:[0-9a-f]{64}", container["image"]), container["image"]


@pytest.mark.parametrize("rendering", RENDERINGS)
def test_disk_is_asked_for_and_bounded(rendering: str) -> None:
    for one_pod in pods(render(rendering)):
        limit = 0.0
        for container in one_pod.containers():
            asked, most = (gib(container["resources"][bound]["ephemeral-storage"]) for bound in ("requests", "limits"))
            assert 0 < asked <= most
            limit += most if container in one_pod.spec["containers"] else 0
        # Volumes on disk count into the pod's limit, the sum of its containers': all of them full must fit.
        on_disk = [v["emptyDir"] for v in one_pod.spec["volumes"] if "emptyDir" in v]
        sized = [v["sizeLimit"] for v in on_disk if v.get("medium") != "Memory" and "sizeLimit" in v]
        assert sum(gib(size) for size in sized) < limit


@pytest.mark.parametrize("rendering", RENDERINGS)
def test_secrets_come_from_external_secrets_alone(rendering: str) -> None:
    manifests = render(rendering)
    assert [m["metadata"]["name"] for m in manifests if m["kind"] == "Secret"] == []
    made = {m["spec"]["target"]["name"]: m for m in manifests if m["kind"] == "ExternalSecret"}
    assert {name for m in manifests if m["kind"] != "ExternalSecret" for name in secret_names(m)} == set(made)


def test_the_transformer_reads_the_shared_store(production: list[Object], pod: Pod) -> None:
    """The variable is the one that the transformer reads, and its port is the one that may be reached."""
    transformer = next(c for c in pod.containers() if c["name"] == "transformer-container")
    (variable,) = (v for v in transformer["env"] if v["name"] == ONLINE_STORE)
    asked = variable["valueFrom"]["secretKeyRef"]
    secret = external_secret(production, asked["name"])
    assert asked["key"] in [entry["secretKey"] for entry in secret["data"]]
    policy = next(m for m in production if m["metadata"]["name"] == "allow-online-store")["spec"]
    assert policy["podSelector"]["matchLabels"].items() <= pod.labels.items()
    assert [port["port"] for rule in policy["egress"] for port in rule["ports"]] == [6379]


def test_releases_are_held_against_the_owners_key(production: list[Object], pod: Pod) -> None:
    """The file that the flag names is a key of the secret that is mounted there."""
    transformer = next(c for c in pod.containers() if c["name"] == "transformer-container")
    folder, _, file = flags(transformer)["--public_key"].rpartition("/")
    (mount,) = (m for m in transformer["volumeMounts"] if m["mountPath"] == folder)
    (volume,) = (v for v in pod.spec["volumes"] if v["name"] == mount["name"])
    made = external_secret(production, volume["secret"]["secretName"])
    assert file in [entry["secretKey"] for entry in made["data"]]


def test_a_nodes_own_credentials_stay_out_of_reach() -> None:
    """No egress holds the address where a machine's metadata lies, but for GKE's stand-in for it."""
    node = ipaddress.ip_address("169.254.169.254")
    for rendering in RENDERINGS:
        for policy in (m for m in render(rendering) if m["kind"] == "NetworkPolicy"):
            blocks = [p["ipBlock"] for rule in policy["spec"].get("egress", ()) for p in rule["to"] if "ipBlock" in p]
            for block in blocks:
                inside = node in ipaddress.ip_network(block["cidr"])
                excepted = any(node in ipaddress.ip_network(cidr) for cidr in block.get("except", ()))
                assert not inside or excepted, f"{rendering} {policy['metadata']['name']}"
