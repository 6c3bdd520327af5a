"""The compiled pipelines: a golden file each, and images mapped by role."""

from pathlib import Path

import pytest
import yaml

from components.contracts.errors import BadInput
from pipelines.choices import ROLES, Source
from pipelines.compile import compile_pipeline
from pipelines.profile import load_profile

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("source", ["simulator", "log", "judgments"])
def test_compiled_pipeline_equals_its_golden_file(
    source: Source, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """After a deliberate change: `pytest tests/pipelines --update-golden`, and read the difference."""
    compiled, golden = tmp_path / "pipeline.yaml", GOLDEN / f"{source}.yaml"
    compile_pipeline(source, load_profile("laptop"), compiled)
    if request.config.getoption("--update-golden"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(compiled.read_text())
    assert compiled.read_text() == golden.read_text()


@pytest.mark.parametrize("source", ["simulator", "log", "judgments"])
def test_every_step_runs_in_the_image_of_its_role(source: Source, tmp_path: Path) -> None:
    images = {role: f"registry.example/archipelago/{role}@sha256:{'0' * 64}" for role in ROLES}
    compile_pipeline(source, load_profile("laptop"), tmp_path / "p.yaml", images)
    spec = next(yaml.safe_load_all((tmp_path / "p.yaml").read_text()))
    used = {executor["container"]["image"] for executor in spec["deploymentSpec"]["executors"].values()}
    assert used == {images[role] for role in ("data", "train", "monitor")}


def test_an_unknown_role_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="gpu"):
        compile_pipeline("simulator", load_profile("laptop"), tmp_path / "p.yaml", {"gpu": "x"})
    assert not (tmp_path / "p.yaml").exists()


def test_configuration_travels_as_json_text_with_whole_numbers(tmp_path: Path) -> None:
    compile_pipeline("simulator", load_profile("laptop"), tmp_path / "p.yaml")
    spec = next(yaml.safe_load_all((tmp_path / "p.yaml").read_text()))
    parameters = spec["root"]["inputDefinitions"]["parameters"]
    profile = load_profile("laptop")
    assert profile.relevance == type(profile.relevance).model_validate_json(
        parameters["relevance_config"]["defaultValue"]
    )


@pytest.mark.parametrize("source", ["simulator", "log", "judgments"])
def test_a_release_is_built_only_where_the_gate_passes_and_people_are_told_at_any_end(
    source: Source, tmp_path: Path
) -> None:
    compile_pipeline(source, load_profile("tiny"), tmp_path / "p.yaml")
    spec = next(yaml.safe_load_all((tmp_path / "p.yaml").read_text()))
    root, components = spec["root"]["dag"]["tasks"], spec["components"]
    assert root.keys() == {"exit-handler-1", "notify-end"}
    assert root["notify-end"]["triggerPolicy"]["strategy"] == "ALL_UPSTREAM_TASKS_COMPLETED"
    conditions = {
        step: task["triggerPolicy"]["condition"]
        for component in components.values()
        for task in component.get("dag", {}).get("tasks", {}).values()
        if "condition" in task.get("triggerPolicy", {})
        for step in components[task["componentRef"]["name"]]["dag"]["tasks"]
    }
    passed = "inputs.parameter_values['pipelinechannel--gate-Output'] == true"
    assert conditions == {"build-release": passed, "notify-refusal": f"!({passed})"}
