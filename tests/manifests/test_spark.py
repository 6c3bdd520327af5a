"""What samples and features on a cluster's Spark need: it renders, is valid, and an application of it fits."""

from pathlib import Path
from typing import Any

import pytest

from components.contracts.locations import claim_of
from components.contracts.spark.applications import application_spec
from components.samples.config import SamplesConfig
from tests.manifests.rendering import render
from tests.manifests.schemas import Schemas

CONFIG = SamplesConfig.of_structure(
    {
        "engine": "spark",
        "spark_application": {
            "image": "registry.example.com/archipelago-data-spark:0.1.0",
            "folder": "pvc://archipelago-spark/jobs",
        },
    }
)


@pytest.fixture(scope="module")
def made() -> list[dict[str, Any]]:
    return render("spark")


def named(made: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    return {manifest["metadata"]["name"]: manifest for manifest in made if manifest["kind"] == kind}


def application() -> dict[str, Any]:
    assert CONFIG.spark_application
    spec = application_spec("components.samples.job", Path("/mnt/claims/x"), CONFIG, CONFIG.spark_application)
    version = "sparkoperator.k8s.io/v1beta2"
    return {"apiVersion": version, "kind": "SparkApplication", "metadata": {"name": "a"}, "spec": spec}


def test_everything_is_valid(made: list[dict[str, Any]], schemas: Schemas) -> None:
    assert [problem for manifest in [*made, application()] for problem in schemas.problems(manifest)] == []
    assert {manifest["metadata"]["namespace"] for manifest in made} == {"kubeflow-user-example-com"}


def test_an_application_names_what_is_made(made: list[dict[str, Any]]) -> None:
    asked, spec = CONFIG.spark_application, application()["spec"]
    assert asked
    assert spec["driver"]["serviceAccount"] in named(made, "ServiceAccount")
    (claim,) = named(made, "PersistentVolumeClaim")
    assert claim == claim_of(asked.folder) == spec["volumes"][0]["persistentVolumeClaim"]["claimName"]
    assert named(made, "PersistentVolumeClaim")[claim]["spec"]["accessModes"] == ["ReadWriteMany"]
    selector = named(made, "NetworkPolicy")["allow-spark"]["spec"]["podSelector"]["matchLabels"]
    for part in ("driver", "executor"):
        assert selector.items() <= spec[part]["labels"].items()
        assert spec[part]["labels"]["sidecar.istio.io/inject"] == "false", (
            "no proxy, where a profile's namespace has it"
        )


def test_rights_end_at_sparks_own(made: list[dict[str, Any]]) -> None:
    roles = named(made, "Role")
    (step,), (driver,) = roles["archipelago-spark"]["rules"], roles["archipelago-spark-driver"]["rules"]
    assert (step["resources"], step["verbs"]) == (["sparkapplications"], ["get", "create", "delete"])
    assert driver["resources"] == ["pods", "services", "configmaps", "persistentvolumeclaims"]
    assert {name: b["subjects"][0]["name"] for name, b in named(made, "RoleBinding").items()} == {
        "archipelago-spark": "default-editor",
        "archipelago-spark-driver": "archipelago-spark",
    }
