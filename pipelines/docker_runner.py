"""Containers for kfp.local whose exit status is never lost.

KFP 2.17's DockerRunner starts a container with auto-removal and asks for its exit status after its log has ended. When
the daemon has removed the container by then, KFP takes that for success: of twelve containers that failed, six were
reported as succeeded. Ours are removed after their status is known.
"""

from collections.abc import Mapping
from typing import Any

from kfp.local import docker_task_handler


def keep_exit_status() -> None:
    """Let every DockerRunner of this process run its containers through `run_container`."""
    docker_task_handler.run_docker_container = run_container


def run_container(client: Any, image: str, command: list[str], volumes: Mapping[str, Any], **run_arguments: Any) -> int:
    """Run a container, print its log as it comes, remove it, and return its exit status.

    Args:
        client: a `docker.DockerClient`.
        image: reference; without a tag or digest it means `:latest`, as for KFP.
        command: replaces the image's command.
        volumes: host path -> mount, as docker's SDK takes them.
        run_arguments: further arguments of `client.containers.run`.

    Raises:
        docker.errors.DockerException: the image is absent and can't be pulled, or the container can't start.
    """
    name = image.rpartition("/")[2]
    container = client.containers.run(
        image=image if ":" in name or "@" in name else f"{image}:latest",
        command=command,
        detach=True,
        volumes=volumes,
        **run_arguments,
    )
    try:
        for line in container.logs(stream=True):
            print(line.decode(errors="replace"), end="")  # noqa: T201  # KFP captures a step's output on stdout
        return int(container.wait()["StatusCode"])
    finally:
        container.remove(force=True)
