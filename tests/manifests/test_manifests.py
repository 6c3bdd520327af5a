"""What `kubectl kustomize` renders is valid, says the same thing in each place, and is safe to apply."""

import copy
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import yaml

from components.contracts.errors import BadInput
from serving.local.triton_server import triton_environment
from serving.observe.pseudonym import KEY_VARIABLE
from tests.manifests.broken_variants import BASE, DEV, PRODUCTION, VARIANTS, Manifests, one
from tests.manifests.checks import problems
from tests.manifests.controller import runtime_of
from tests.manifests.network_rules import allowances_of_the_page
from tests.manifests.pods import flags, pods
from tests.manifests.rendering import MANIFESTS, RENDERINGS, render
from tests.manifests.schemas import Schemas


@pytest.mark.parametrize("rendering", RENDERINGS)
def test_nothing_is_wrong(rendering: str, schemas: Schemas) -> None:
    assert problems(render(rendering), rendering, schemas) == []


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_is_wrong_is_found(variant: str, schemas: Schemas) -> None:
    spoil, expected, rendering = (*VARIANTS[variant], BASE)[:3]
    sound = render(rendering)
    spoiled = copy.deepcopy(sound)
    spoil(spoiled)
    found = problems(spoiled, rendering, schemas, valid=sound)
    assert any(expected in problem for problem in found), found


def test_the_page_allows_something_in_every_overlay_it_names() -> None:
    assert all(allowances_of_the_page(rendering) for rendering in (BASE, DEV, PRODUCTION))


def test_rules_have_pods_to_judge(manifests: Manifests) -> None:
    judged = [[c["name"] for c in pod.containers()] for pod in pods(manifests)]
    serving = ["storage-initializer", "kserve-container", "transformer-container"]
    assert judged in ([serving], [["seaweedfs"], serving])


def test_every_network_policy_has_a_file_of_its_own_name() -> None:
    for path in sorted((MANIFESTS / "base" / "network").glob("*.yaml")):
        documents = list(yaml.safe_load_all(path.read_text()))
        assert [(d["kind"], d["metadata"]["name"]) for d in documents] == [("NetworkPolicy", path.stem)]


def test_gpu_overlay_asks_for_a_gpu_and_its_configurations(manifests: Manifests) -> None:
    service = one(manifests, "InferenceService")
    runtime = runtime_of(service, manifests)
    assert runtime is not None
    container = runtime["spec"]["containers"][0]
    has_gpu = "nvidia.com/gpu" in container["resources"]["limits"]
    assert has_gpu == ("--model-config-name=cpu" not in container["args"])
    loaded = [argument.partition("=")[2] for argument in container["args"] if argument.startswith("--load-model=")]
    assert loaded == (["relevance", "ranker", "search"] if has_gpu else ["*"])
    image = re.split("[:@]", container["image"].rpartition("/")[2])[0]
    assert image == ("archipelago-triton-gpu" if has_gpu else "archipelago-triton")
    transformer = next(c for c in service["spec"]["predictor"]["containers"] if c["name"] == "transformer-container")
    assert flags(transformer).get("--micro_batch") == ("1000" if has_gpu else None)


def test_transformer_knows_its_flags(manifests: Manifests) -> None:
    containers = one(manifests, "InferenceService")["spec"]["predictor"]["containers"]
    transformer = next(c for c in containers if c["name"] == "transformer-container")
    python, *module = transformer["command"]
    assert python == "python"
    shown = _help_of(*module)
    assert [flag for flag in flags(transformer) if flag not in shown] == []


@cache
def _help_of(*module: str) -> str:
    command = [sys.executable, *module, "--help"]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


def test_the_pages_patch_turns_the_serving_log_on(tmp_path: Path, schemas: Schemas) -> None:
    page = (MANIFESTS / "README.md").read_text(encoding="utf-8")
    (patches,) = re.findall(r"```yaml\n(patches:\n[^`]*serving-log[^`]*)```", page)
    shutil.copytree(MANIFESTS / "base", tmp_path / "base")
    (tmp_path / "kustomization.yaml").write_text(f"resources: [base]\n{patches}", encoding="utf-8")
    manifests = render(str(tmp_path))
    assert problems(manifests, str(tmp_path), schemas) == []
    transformer = one(manifests, "InferenceService")["spec"]["predictor"]["containers"][0]
    assert transformer["name"] == "transformer-container"
    assert flags(transformer)["--log_folder"] in [mount["mountPath"] for mount in transformer["volumeMounts"]]
    assert KEY_VARIABLE in [variable["name"] for variable in transformer["env"]]


def test_triton_knows_its_flags(manifests: Manifests) -> None:
    try:
        venv = triton_environment()
    except BadInput as reason:
        pytest.skip(str(reason))
    server = next(venv.glob("lib/python3.*/site-packages/pytriton/tritonserver"))
    libraries = subprocess.run(
        [venv / "bin" / "python", "-c", "import sysconfig; print(sysconfig.get_config_var('LIBDIR'))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    shown = subprocess.run(
        [server / "bin" / "tritonserver", "--help"],
        env={"LD_LIBRARY_PATH": f"{server.parents[1] / 'nvidia_pytriton.libs'}:{libraries}"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    known = shown.stdout + shown.stderr
    assert "--model-repository" in known
    assert [
        flag for flag in flags(one(manifests, "ServingRuntime")["spec"]["containers"][0]) if flag not in known
    ] == []
