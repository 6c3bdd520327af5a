"""`archipelago submit`: uploaded once a version, started with what was named, watched to its end."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from components.contracts.errors import BadInput, GateRefused
from pipelines.cli.main import app
from pipelines.kubeflow.manifests import manifests
from pipelines.kubeflow.server import PipelineServer, ServerError
from pipelines.kubeflow.submission import RunFailed, compiled
from pipelines.profile import load_profile
from tests.manifests.schemas import Schemas
from tests.pipelines.kubeflow.conftest import Command
from tests.pipelines.kubeflow.pipeline_server import Kubeflow


def test_the_same_pipeline_is_uploaded_once_and_run_as_often_as_asked(
    kubeflow: Kubeflow, archipelago: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        archipelago("submit", "--profile", "tiny", "--as-of", "2026-01-01")
    said = capsys.readouterr().out
    pipeline = compiled("simulator", load_profile("tiny"), {})
    assert [each.display_name for each in kubeflow.pipelines] == ["archipelago-simulated-search"]
    assert [each.display_name for each in kubeflow.versions][1:] == [pipeline.version]
    assert kubeflow.packages[1] == pipeline.text
    assert len(kubeflow.runs) == 2 and len(kubeflow.experiments) == 1
    assert kubeflow.runs[0].runtime_config.parameters == {"as_of": "2026-01-01T00:00:00+00:00"}
    assert kubeflow.runs[0].pipeline_version_reference.pipeline_version_id == kubeflow.versions[1].pipeline_version_id
    assert f"{kubeflow.url}/#/runs/details/run_id-1" in said


def test_another_image_is_another_version(kubeflow: Kubeflow, archipelago: Command) -> None:
    image = f"train=registry.example/train@sha256:{'0' * 64}"
    archipelago("submit", "--profile", "tiny")
    archipelago("submit", "--profile", "tiny", "--image", image)
    assert len({each.display_name for each in kubeflow.versions}) == 3


def test_a_version_is_found_on_a_later_page(kubeflow: Kubeflow, archipelago: Command) -> None:
    for number in range(5):
        archipelago("submit", "--profile", "tiny", "--image", f"train=train:{number}")
    uploaded = len(kubeflow.versions)
    archipelago("submit", "--profile", "tiny", "--image", "train=train:4")
    assert len(kubeflow.versions) == uploaded == 6


def test_a_log_and_its_place_are_parameters(kubeflow: Kubeflow, archipelago: Command) -> None:
    archipelago("submit", "--profile", "tiny", "--data", "s3://shop/log", "--judgments", "s3://shop/judgments.parquet")
    assert kubeflow.pipelines[0].display_name == "archipelago-logged-search"
    given = {"data": "s3://shop/log", "judgments": "s3://shop/judgments.parquet"}
    assert kubeflow.runs[0].runtime_config.parameters == given


def test_any_parameter_can_be_set_and_none_that_is_not_there(kubeflow: Kubeflow, archipelago: Command) -> None:
    archipelago("submit", "--profile", "tiny", "--parameter", "gate_config={min_judgments: 1}", "--as-of", "2026-01-01")
    assert kubeflow.runs[0].runtime_config.parameters["gate_config"] == {"min_judgments": 1}
    with pytest.raises(BadInput, match="no parameter gates"):
        archipelago("submit", "--profile", "tiny", "--parameter", "gates=1")
    with pytest.raises(BadInput, match="expected NAME=VALUE"):
        archipelago("submit", "--profile", "tiny", "--parameter", "gate_config")
    assert len(kubeflow.runs) == 1


def test_several_users_have_namespaces_and_tokens(kubeflow: Kubeflow, archipelago: Command, tmp_path: Path) -> None:
    kubeflow.token, kubeflow.namespaces = "secret", ("shop",)
    (tmp_path / "token").write_text("secret\n")
    token = ("--token-file", tmp_path / "token")
    with pytest.raises(BadInput, match=r"401 .*--token-file"):
        archipelago("submit", "--profile", "tiny", "--namespace", "shop")
    with pytest.raises(BadInput, match=r"namespace other: 403 "):
        archipelago("submit", "--profile", "tiny", "--namespace", "other", *token)
    assert kubeflow.runs == []
    archipelago("submit", "--profile", "tiny", "--namespace", "shop", *token)
    assert (kubeflow.experiments[0].namespace, kubeflow.pipelines[0].namespace) == ("shop", "shop")


def test_a_run_is_watched_step_by_step(
    kubeflow: Kubeflow, archipelago: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    kubeflow.ends = [
        ({"encode": "PENDING"}, "PENDING"),
        ({"encode": "RUNNING"}, "RUNNING"),
        ({"encode": "RUNNING"}, "RUNNING"),
        ({"encode": "SUCCEEDED", "gate": "SUCCEEDED"}, "SUCCEEDED"),
    ]
    archipelago("submit", "--profile", "tiny", "--wait")
    said = capsys.readouterr()
    assert [line.split(" ", 1)[1] for line in said.err.splitlines() if ": " in line and "uploaded" not in line] == [
        "encode: running",
        "encode: succeeded",
        "gate: succeeded",
    ]
    assert said.out.endswith("succeeded\n")


def test_a_failed_run_names_its_step(kubeflow: Kubeflow, archipelago: Command) -> None:
    kubeflow.ends = [({"encode": "SUCCEEDED", "train-relevance": "FAILED"}, "FAILED")]
    with pytest.raises(RunFailed, match="failed at step train-relevance: out of memory; http") as failed:
        archipelago("submit", "--profile", "tiny", "--wait")
    assert failed.value.exit_code == 1


def test_a_server_that_is_away_for_a_while_ends_no_watch(kubeflow: Kubeflow, archipelago: Command) -> None:
    kubeflow.ends = [({"encode": "RUNNING"}, "RUNNING"), ({"encode": "SUCCEEDED"}, "SUCCEEDED")]
    started = PipelineServer.start

    def start(self: PipelineServer, *arguments: Any) -> str:
        run = started(self, *arguments)
        kubeflow.broken = 3
        return run

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PipelineServer, "start", start)
        archipelago("submit", "--profile", "tiny", "--wait")
        patch.setattr("pipelines.kubeflow.submission._UNHEARD", 2)
        with pytest.raises(ServerError, match="500 the database is gone"):
            archipelago("submit", "--profile", "tiny", "--wait")


def test_a_refusal_ends_as_it_does_here(kubeflow: Kubeflow, archipelago: Command) -> None:
    kubeflow.ends = [({"gate": "SUCCEEDED", "notify-refusal": "SUCCEEDED", "build-release": "SKIPPED"}, "SUCCEEDED")]
    with pytest.raises(GateRefused, match="gate refused the release") as refused:
        archipelago("submit", "--profile", "tiny", "--wait")
    assert refused.value.exit_code == 4


def test_a_condition_that_was_not_taken_is_no_refusal(kubeflow: Kubeflow, archipelago: Command) -> None:
    kubeflow.ends = [({"gate": "SUCCEEDED", "notify-refusal": "SKIPPED"}, "SUCCEEDED")]
    archipelago("submit", "--profile", "tiny", "--wait")


def test_nobody_there_and_a_broken_server_are_one_line(
    kubeflow: Kubeflow, archipelago: Command, caplog: pytest.LogCaptureFixture
) -> None:
    kubeflow.broken = True
    with pytest.raises(ServerError, match="500 the database is gone"):
        archipelago("submit", "--profile", "tiny")
    with pytest.raises(BadInput, match="expected http://"):
        archipelago("submit", "--profile", "tiny", "--host", "localhost:8888")
    with pytest.raises(BadInput, match=r"--token-file nowhere: no such file"):
        archipelago("submit", "--profile", "tiny", "--token-file", "nowhere")
    with pytest.raises(ServerError, match=r"^cannot connect to http://127\.0\.0\.1:9: .{1,200} \(is it a") as nobody:
        archipelago("submit", "--profile", "tiny", "--host", "http://127.0.0.1:9")
    assert "Max retries" not in str(nobody.value) and "Retrying" not in caplog.text


def test_manifests_hold_what_was_compiled(tmp_path: Path) -> None:
    pipeline = compiled("judgments", load_profile("tiny"), {})
    kinds = {document["kind"]: document for document in manifests(pipeline)}
    assert set(kinds) == {"Pipeline", "PipelineVersion"}
    spec = kinds["PipelineVersion"]["spec"]
    assert spec["pipelineName"] == kinds["Pipeline"]["metadata"]["name"]
    assert spec["pipelineSpec"] == next(yaml.safe_load_all(pipeline.text))
    assert kinds["PipelineVersion"]["metadata"]["name"].endswith(pipeline.version)


def test_manifests_are_such_as_the_server_takes(tmp_path: Path, crds: Path) -> None:
    out = tmp_path / "pipeline.yaml"
    app(["compile", "--profile", "cluster", "--source", "log", "--manifests", "--out", str(out)], standalone_mode=False)
    written = list(yaml.safe_load_all(out.read_text()))
    assert [document["kind"] for document in written] == ["Pipeline", "PipelineVersion"]
    assert [problem for document in written for problem in Schemas(crds).problems(document)] == []
    assert "platformSpec" in written[1]["spec"], "what steps ask of a cluster"
