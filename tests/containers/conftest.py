"""A Docker daemon with the project's images, for the whole test run.

Nothing is pulled: the base image is made from Debian packages. What is made is kept between test runs in
ARCHIPELAGO_CACHE (~/.cache/archipelago), so that a second run rebuilds only what changed.
"""

import contextlib
import fcntl
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.containers.docker_daemon import docker, missing_parts, running_daemon
from tests.containers.roles import BASE, BUILD, REPOSITORY, ROLES
from tests.containers.stand_in_base import base_digest, make_base


@pytest.fixture(scope="session")
def docker_host() -> Iterator[str]:
    """DOCKER_HOST of a daemon of the tests' own; docker's SDK, and so KFP's DockerRunner, sees it too."""
    missing = missing_parts()
    if missing:
        pytest.skip(f"container tests need {', '.join(missing)}")
    folder = Path(os.environ.get("ARCHIPELAGO_CACHE", Path.home() / ".cache" / "archipelago")) / "containers"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock, pytest.MonkeyPatch.context() as patch:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one daemon a data folder
        with running_daemon(folder / "docker") as host:
            patch.setenv("DOCKER_HOST", host)
            yield host


@pytest.fixture(scope="session")
def images(docker_host: str, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """Role -> image name, every image built from components/Dockerfile as it is, on a stand-in for its base."""
    _import_base(docker_host, tmp_path_factory.mktemp("base"))
    names = {role: f"archipelago-{role}:latest" for role in ROLES}
    for role, name in names.items():
        docker("build", *BUILD, "--target", role, "--tag", name, REPOSITORY, host=docker_host, timeout=1200)
    docker("image", "prune", "--force", host=docker_host)  # layers of sources and requirements that are no more
    return names


def _import_base(host: str, folder: Path) -> None:
    constraints = REPOSITORY / "constraints.txt"
    label = '{{index .Config.Labels "archipelago.base"}}'
    with contextlib.suppress(subprocess.CalledProcessError):  # not there yet
        if docker("image", "inspect", "--format", label, BASE, host=host).strip() == base_digest(constraints):
            return
    tar = folder / "base.tar"
    changes = make_base(tar, constraints)
    docker("import", *(f"--change={change}" for change in changes), tar, BASE, host=host)
    tar.unlink()
