"""Each role's image: who it runs as, what it may write, what it holds and what it doesn't."""

import json
import re
import subprocess
from collections.abc import Mapping

import pytest

from tests.containers.docker_daemon import docker
from tests.containers.roles import BASE, REPOSITORY, ROLES

pytestmark = [pytest.mark.containers, pytest.mark.timeout(1800)]  # the first test waits for the builds

PACKAGES = {
    "data": [
        "components.contracts",
        "components.marketplace",
        "components.samples",
        "components.features",
        "feature_repo",
    ],
    "train": ["components.contracts", "components.relevance", "components.ranking", "components.release"],
    "monitor": ["components.contracts", "components.monitoring"],
    "serve": ["components.contracts", "serving"],
}
PRESENT = {
    "data": ["duckdb", "feast", "ibis"],
    "train": ["onnx", "torch", "transformers"],
    "monitor": ["evidently"],
    "serve": ["feast", "kserve"],
}
ABSENT = {
    "data": ["evidently", "kserve", "torch", "transformers"],
    "train": ["evidently", "kserve"],
    "monitor": ["feast", "kserve", "torch"],
    "serve": ["evidently", "torch", "transformers"],
}
# What a pod under the restricted Pod Security Standard gets, with a read-only root file system.
_RESTRICTED = (
    *("--read-only", "--tmpfs", "/tmp"),
    *("--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--network", "none"),
)
_IMPORT = """
import importlib, json, pkgutil, sys
failed = {}
for package in sys.argv[1:]:
    names = [package]
    if hasattr(importlib.import_module(package), "__path__"):
        found = pkgutil.walk_packages(importlib.import_module(package).__path__, package + ".")
        # component.py is read where a pipeline is compiled; serving.triton runs in Triton's own Python; a GPU's kernel
        # is imported on a GPU, whose build of PyTorch brings its compiler.
        elsewhere = (".component", "_kernel")
        names += [m.name for m in found if not m.name.endswith(elsewhere) and ".triton" not in m.name]
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError as error:
            failed[name] = str(error)
print(json.dumps(failed))
"""


def run(host: str, image: str, *command: str) -> str:
    return docker("run", "--rm", *_RESTRICTED, image, *command, host=host)


@pytest.mark.parametrize("role", ROLES)
def test_runs_as_a_numbered_user_that_is_not_root(docker_host: str, images: Mapping[str, str], role: str) -> None:
    user = docker("image", "inspect", "--format", "{{.Config.User}}", images[role], host=docker_host).strip()
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    assert run(docker_host, images[role], "id", "-u").strip() == user.partition(":")[0]


@pytest.mark.parametrize("role", ROLES)
def test_may_write_nothing_but_tmp(docker_host: str, images: Mapping[str, str], role: str) -> None:
    # Without --read-only: the permissions alone must keep the installed code as it is.
    writable = "find / -xdev -writable ! -type l ! -path '/proc/*' ! -path '/dev/*' ! -path '/sys/*' 2>/dev/null"
    found = docker("run", "--rm", images[role], "sh", "-c", f"{writable} || true", host=docker_host).split()
    allowed = ("/tmp", "/var/tmp", "/run/lock", "/var/lock")
    assert [path for path in found if not path.startswith(allowed)] == []
    with pytest.raises(subprocess.CalledProcessError, match="Permission denied"):
        docker("run", "--rm", images[role], "touch", "/opt/venv/x", host=docker_host)


@pytest.mark.parametrize("role", ROLES)
def test_imports_its_own_packages(docker_host: str, images: Mapping[str, str], role: str) -> None:
    output = run(docker_host, images[role], "python", "-c", _IMPORT, *PACKAGES[role])
    assert json.loads(output.splitlines()[-1]) == {}


@pytest.mark.parametrize("role", ROLES)
def test_holds_its_role_and_no_other(docker_host: str, images: Mapping[str, str], role: str) -> None:
    script = "import importlib.util, sys; print(*[n for n in sys.argv[1:] if importlib.util.find_spec(n)])"
    names = PRESENT[role] + ABSENT[role]
    found = run(docker_host, images[role], "python", "-c", script, *names).split()
    assert found == PRESENT[role]


@pytest.mark.parametrize("role", ROLES)
def test_holds_pinned_versions_only(docker_host: str, images: Mapping[str, str], role: str) -> None:
    pins = dict(line.split("==") for line in (REPOSITORY / "constraints.txt").read_text().split())
    pins = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pins.items()}
    installed = {
        re.sub(r"[-_.]+", "-", package["name"]).lower(): package["version"].partition("+")[0]
        for package in json.loads(run(docker_host, images[role], "pip", "list", "--format", "json"))
    }
    # The project, what a new venv brings, and what redis wants below Python 3.11.3 (the stand-in has 3.11.2).
    own = {"archipelago-search", "pip", "setuptools", "async-timeout"}
    assert {name: version for name, version in installed.items() if pins.get(name) != version and name not in own} == {}


def test_labels_say_what_an_image_is(docker_host: str, images: Mapping[str, str]) -> None:
    for image in images.values():
        labels = json.loads(docker("image", "inspect", "--format", "{{json .Config.Labels}}", image, host=docker_host))
        assert labels["org.opencontainers.image.title"] == "Archipelago"
        assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"


def test_triton_image_adds_tokenizers_alone(docker_host: str, images: Mapping[str, str]) -> None:
    # NVIDIA's image can't be pulled here; what is added to it can be tried on any Python.
    docker(
        *("build", "--network", "host", "--target", "triton", "--tag", "archipelago-triton:latest"),
        *("--build-arg", f"TRITON_BASE={BASE}", "--file", REPOSITORY / "components" / "Dockerfile", REPOSITORY),
        host=docker_host,
    )
    script = "import os, tokenizers; print(os.getuid())"
    assert run(docker_host, "archipelago-triton:latest", "python3", "-c", script).strip() == "1000"
