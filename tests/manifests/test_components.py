"""Components that no overlay includes: each renders over production, is valid, and breaks no rule."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.manifests.rendering import MANIFESTS, render
from tests.manifests.rules import RULES
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


def test_it_is_valid(example: list[dict[str, Any]], schemas: Schemas) -> None:
    assert [problem for manifest in example for problem in schemas.problems(manifest)] == []


def test_it_keeps_the_rules(example: list[dict[str, Any]]) -> None:
    assert [problem for rule in RULES for problem in rule(example)] == []


def test_routes_lead_to_ports_of_the_service(example: list[dict[str, Any]]) -> None:
    """KServe's Service has the transformer's first port as 80, and its others as they are."""
    predictor = next(m for m in example if m["kind"] == "InferenceService")["spec"]["predictor"]
    first, *others = [port["containerPort"] for port in predictor["containers"][0]["ports"]]
    assert first == 8080
    for route in (m for m in example if m["kind"] in ("HTTPRoute", "GRPCRoute")):
        for rule in route["spec"]["rules"]:
            for backend in rule["backendRefs"]:
                assert backend["name"] == "archipelago-predictor"
                assert backend["port"] in (80, *others)


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
