"""The pipeline's last step: a release reaches the store of the service, and the service answers with it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from pyarrow import fs

from components.contracts import locations
from components.contracts.errors import BadInput
from components.contracts.locations import upload
from components.contracts.releases import PUBLIC_KEY
from components.contracts.tools.manifest import read_json, write_json
from components.release import rollout
from components.release.component import deploy_release, find_champion
from components.release.inference_service import NO_RELEASE, RELEASE, RUN
from components.release.publish import publish_and_deploy
from tests.contracts.test_signature import write_keys
from tests.release.kube_server import NAME, NAMESPACE, Kube, inference_service, kubeconfig, serving
from tests.release.small_release import write_small_release

OLD = "0" * 11 + "a"


@pytest.fixture
def stage(tmp_path: Path) -> Path:
    """A release as build-release leaves it."""
    root = tmp_path / "stage"
    name = write_small_release(root / "built")
    (root / "built").rename(root / name)
    write_json(root / "manifest.json", {"release": name})
    return root


@pytest.fixture
def new(stage: Path) -> str:
    """The name of the stage's release."""
    return str(read_json(stage / "manifest.json")["release"])


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder that answers for the bucket."""
    root = tmp_path / "buckets"
    (root / "shop").mkdir(parents=True)

    def opened(location: str) -> tuple[fs.FileSystem, str]:
        # As an object store does, it makes the folders of a name by itself.
        target = location.partition("://")[2].rstrip("/")
        for part in ("triton/relevance/1", ""):
            (root / target / part).mkdir(parents=True, exist_ok=True)
        return fs.SubTreeFileSystem(str(root), fs.LocalFileSystem()), target

    monkeypatch.setattr(locations, "_open", opened)
    return root / "shop"


@pytest.fixture
def kube(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kube]:
    monkeypatch.setattr(rollout, "POLL_S", 0.005)
    with serving(Kube(inference_service(f"s3://shop/releases/{OLD}"))) as kube:
        path = tmp_path / "kubeconfig"
        path.write_text(yaml.safe_dump(kubeconfig(kube.url)))
        monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(path))
        yield kube


def test_a_release_is_copied_beside_the_served_one_and_served(stage: Path, new: str, store: Path, kube: Kube) -> None:
    assert publish_and_deploy(stage, f"{NAMESPACE}/{NAME}", "run-1") == new
    assert kube.served == new
    notes = kube.service["metadata"]["annotations"]
    assert (notes[RELEASE], notes[RUN]) == (new, "run-1")
    assert kube.service["spec"]["predictor"]["model"]["storageUri"] == f"s3://shop/releases/{new}"
    copied = {path.relative_to(store / "releases" / new) for path in (store / "releases" / new).rglob("*.json")}
    assert copied == {path.relative_to(stage / new) for path in (stage / new).rglob("*.json")}


def test_a_release_that_its_owner_did_not_sign_is_not_even_copied(
    stage: Path, store: Path, kube: Kube, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PUBLIC_KEY, str(write_keys(tmp_path / "keys")[1]))
    with pytest.raises(BadInput, match="sign"):
        publish_and_deploy(stage, f"{NAMESPACE}/{NAME}", "run-1")
    assert kube.patches == [] and list(store.rglob("*")) == []


def test_the_manifest_comes_last_and_what_lies_there_is_not_copied_again(stage: Path, new: str, tmp_path: Path) -> None:
    (stage / new / "zeta").write_bytes(b"after manifest.json by name")
    target = tmp_path / "claim" / new
    target.mkdir(parents=True)
    (target / "zeta").mkdir()  # the copy of this file fails, as on a full disk
    with pytest.raises(BadInput, match="cannot be written"):
        upload(stage / new, str(target), last="manifest.json")
    assert not (target / "manifest.json").exists()
    (target / "zeta").rmdir()
    assert upload(stage / new, str(target), last="manifest.json") is True
    assert (target / "zeta").read_bytes() == (stage / new / "zeta").read_bytes()
    assert upload(stage / new, str(target), last="manifest.json") is False


def test_the_champion_is_what_is_named_else_what_the_service_serves_else_nobody(kube: Kube) -> None:
    find, service = find_champion.python_func, f"{NAMESPACE}/{NAME}"
    assert find(champion="", service=service) == f"s3://shop/releases/{OLD}"
    assert find(champion="s3://shop/another", service=service) == "s3://shop/another"
    assert find(champion="", service="") == ""
    kube.service["spec"]["predictor"]["model"]["storageUri"] = f"s3://shop/releases/{NO_RELEASE}"
    assert find(champion="", service=service) == "", "nothing was deployed yet"


@pytest.mark.parametrize("service", ["", "/name", "a/b/c"])
def test_what_names_no_service_is_refused(stage: Path, service: str) -> None:
    with pytest.raises(BadInput, match="namespace/name"):
        publish_and_deploy(stage, service, "run-1")


@pytest.mark.parametrize("step", [deploy_release, find_champion])
def test_the_steps_run_in_the_serving_image(step) -> None:
    (executor,) = step.pipeline_spec.deployment_spec["executors"].values()
    assert executor["container"]["image"] == "archipelago-serve"
