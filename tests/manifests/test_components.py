"""Components that no overlay includes: each renders over production, is valid, and breaks no rule."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.manifests.checks import problems
from tests.manifests.controller import made_by_kserve
from tests.manifests.pods import pods
from tests.manifests.rendering import MANIFESTS, render
from tests.manifests.schemas import Schemas

COMPONENTS = sorted(folder.name for folder in (MANIFESTS / "components").iterdir())


def included() -> set[str]:
    """Components that the overlays include."""
    overlays = (MANIFESTS / "overlays").glob("*/kustomization.yaml")
    return {Path(c).name for o in overlays for c in yaml.safe_load(o.read_text()).get("components", ())}


@pytest.fixture(scope="module", params=sorted(set(COMPONENTS) - included()))
def example(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Production with one component more, or with one cloud's identity instead of another's."""
    root = tmp_path_factory.mktemp("manifests")
    shutil.copytree(MANIFESTS, root, dirs_exist_ok=True)
    overlay = root / "overlays" / "production" / "kustomization.yaml"
    spec = yaml.safe_load(overlay.read_text())
    spec["components"] = [c for c in spec["components"] if not c.endswith("identity-eks")]
    spec["components"].append(f"../../components/{request.param}")
    overlay.write_text(yaml.safe_dump(spec))
    return render(str(overlay.parent))


def test_nothing_is_wrong_with_it(example: list[dict[str, Any]], schemas: Schemas) -> None:
    assert problems(example, "of its own", schemas) == []


def test_routes_lead_to_ports_of_the_service(example: list[dict[str, Any]]) -> None:
    made = next(m for m in made_by_kserve(example) if m["kind"] == "Service")
    ports = [port["port"] for port in made["spec"]["ports"]]
    for route in (m for m in example if m["kind"] in ("HTTPRoute", "GRPCRoute")):
        for rule in route["spec"]["rules"]:
            for backend in rule["backendRefs"]:
                assert backend["name"] == made["metadata"]["name"]
                assert backend["port"] in ports


def test_every_image_of_a_pod_is_one_that_the_policy_looks_at(example: list[dict[str, Any]]) -> None:
    """In a namespace that is included, an image that no policy matches is refused."""
    for policy in (m for m in example if m["kind"] == "ClusterImagePolicy"):
        globs = [image["glob"].removesuffix("**") for image in policy["spec"]["images"]]
        images = [container["image"] for pod in pods(example) for container in pod.containers()]
        assert len(images) >= 3
        assert [image for image in images if not image.startswith(tuple(globs))] == []
        (namespace,) = [m for m in example if m["kind"] == "Namespace"]
        assert namespace["metadata"]["labels"]["policy.sigstore.dev/include"] == "true"


def test_the_mesh_knows_accounts_and_ports_of_ours(example: list[dict[str, Any]]) -> None:
    """Ports of an AuthorizationPolicy are the pod's; accounts in our namespace exist."""
    accounts = {m["metadata"]["name"] for m in example if m["kind"] == "ServiceAccount"}
    for policy in (m for m in example if m["kind"] == "AuthorizationPolicy"):
        for rule in policy["spec"]["rules"]:
            for source in rule["from"]:
                ours = [p for p in source["source"]["principals"] if "/ns/archipelago/" in p]
                assert all(p.rpartition("/")[2] in accounts for p in ours)
            for operation in rule["to"]:
                assert set(operation["operation"]["ports"]) <= {"8080", "8081", "8002"}
