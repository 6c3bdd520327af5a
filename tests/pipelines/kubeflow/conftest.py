"""A Kubeflow Pipelines server on loopback, and the command against it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipelines.cli.main import app
from tests.pipelines.kubeflow.pipeline_server import Kubeflow, serving

Command = Callable[..., None]


@pytest.fixture
def kubeflow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Kubeflow]:
    for variable in ("KF_PIPELINES_ENDPOINT", "KF_PIPELINES_SA_TOKEN_PATH"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("kfp.Client._LOCAL_KFP_CONTEXT", str(tmp_path / "context.json"))
    monkeypatch.setattr("pipelines.kubeflow.submission._EVERY_S", 0.01)
    with serving(Kubeflow()) as server:
        yield server


@pytest.fixture
def archipelago(kubeflow: Kubeflow) -> Command:
    """Run a command against the server; what it raises is raised."""

    def call(*arguments: object) -> None:
        host = () if "--host" in arguments else ("--host", kubeflow.url)
        app([*map(str, (*arguments, *host))], standalone_mode=False)

    return call
