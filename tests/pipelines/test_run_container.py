"""Containers of the DockerRunner: how images are named, and that a status is known before a container goes."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from kfp.local import docker_task_handler

from pipelines.docker_runner import keep_exit_status, run_container


class Container:
    """A container that fails with status 3; it remembers what was asked of it."""

    def __init__(self, log: list[bytes]) -> None:
        self.asked: list[str] = []
        self._log = log

    def logs(self, stream: bool) -> Iterator[bytes]:
        yield from self._log

    def wait(self) -> dict[str, int]:
        self.asked.append("wait")
        return {"StatusCode": 3}

    def remove(self, force: bool) -> None:
        self.asked.append("remove")


def client_of(container: Container) -> tuple[Any, dict[str, Any]]:
    seen: dict[str, Any] = {}

    def run(**arguments: Any) -> Container:
        seen.update(arguments)
        return container

    return SimpleNamespace(containers=SimpleNamespace(run=run)), seen


def test_status_is_read_before_the_container_is_removed(capsys: pytest.CaptureFixture[str]) -> None:
    container = Container([b"one\n", b"two \xff\n"])
    client, seen = client_of(container)
    assert run_container(client, "archipelago-data", ["true"], {}, network_mode="none") == 3
    assert container.asked == ["wait", "remove"]
    assert capsys.readouterr().out == "one\ntwo \N{REPLACEMENT CHARACTER}\n"
    assert seen["network_mode"] == "none"
    assert not seen.get("auto_remove")


def test_container_goes_when_its_log_breaks_off() -> None:
    class Broken(Container):
        def logs(self, stream: bool) -> Iterator[bytes]:
            raise ConnectionError("daemon went away")

    container = Broken([])
    with pytest.raises(ConnectionError):
        run_container(client_of(container)[0], "archipelago-data", [], {})
    assert container.asked == ["remove"]


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("archipelago-data", "archipelago-data:latest"),
        ("archipelago-data:1", "archipelago-data:1"),
        ("registry:5000/data", "registry:5000/data:latest"),
        ("registry:5000/data@sha256:ab", "registry:5000/data@sha256:ab"),
    ],
)
def test_image_without_a_tag_means_latest(image: str, expected: str) -> None:
    client, seen = client_of(Container([]))
    run_container(client, image, [], {})
    assert seen["image"] == expected


def test_kfp_runs_containers_through_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker_task_handler, "run_docker_container", docker_task_handler.run_docker_container)
    keep_exit_status()
    assert docker_task_handler.run_docker_container is run_container
