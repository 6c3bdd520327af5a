"""The compiled pipelines: a golden file each, and images mapped by role."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from kfp import compiler, dsl
from pydantic import BaseModel

from components.contracts.errors import BadInput
from components.marketplace import component as marketplace
from pipelines.choices import ROLES, PipelineKind, Source
from pipelines.compile import compile_pipeline, name_images, tasks_of
from pipelines.profile import Profile, load_profile, profile_names

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("source", get_args(PipelineKind))
def test_compiled_pipeline_equals_its_golden_file(
    source: PipelineKind, tmp_path: Path, request: pytest.FixtureRequest
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
    assert used == set(images.values())


def test_steps_in_loops_and_sub_pipelines_get_images_and_no_cache_where_they_act_outside(tmp_path: Path) -> None:
    @dsl.pipeline
    def inner(place: str) -> None:
        marketplace.find_data(data=place, judgments="", as_of="", scheduled="")

    @dsl.pipeline
    def outer(places: list[str]) -> None:
        with dsl.ParallelFor(places) as place:
            inner(place=place)
            with dsl.If(place != "", name="named"):
                marketplace.simulate(config={}, as_of=place)

    compiler.Compiler().compile(outer, str(tmp_path / "p.yaml"))
    spec = yaml.safe_load((tmp_path / "p.yaml").read_text())
    assert spec["root"]["dag"]["tasks"].keys() == {"for-loop-1"}
    name_images(spec, {"data": f"registry.example/data@sha256:{'0' * 64}"})
    cached = {task["componentRef"]["name"]: bool(task["cachingOptions"]) for task in tasks_of(spec)}
    assert cached == {"comp-find-data": False, "comp-simulate": True}
    images = {executor["container"]["image"] for executor in spec["deploymentSpec"]["executors"].values()}
    assert len(images) == 1 and images.pop().startswith("registry.example/data@")


def test_an_unknown_role_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="gpu"):
        compile_pipeline("simulator", load_profile("laptop"), tmp_path / "p.yaml", {"gpu": "x"})
    assert not (tmp_path / "p.yaml").exists()


@pytest.mark.parametrize("name", profile_names())
def test_configuration_travels_as_structures_and_comes_back_as_it_was(name: str, tmp_path: Path) -> None:
    profile = load_profile(name)
    compile_pipeline("simulator", profile, tmp_path / "p.yaml")
    spec = next(yaml.safe_load_all((tmp_path / "p.yaml").read_text()))
    parameters = spec["root"]["inputDefinitions"]["parameters"]
    sections = [parameter for parameter in parameters if parameter.endswith("_config")]
    assert len(sections) == 9
    for parameter in sections:
        section = getattr(profile, parameter.removesuffix("_config"))
        assert parameters[parameter]["parameterType"] == "STRUCT"
        back = type(section).of_structure(parameters[parameter]["defaultValue"])
        texts = [json.dumps(config.model_dump(mode="json"), sort_keys=True) for config in (section, back)]
        assert texts[0] == texts[1]  # 1 is no 1.0 here


@pytest.mark.parametrize("source", ["simulator", "log", "judgments"])
def test_every_input_and_output_of_every_step_is_described(source: Source, tmp_path: Path) -> None:
    compile_pipeline(source, load_profile("tiny"), tmp_path / "p.yaml")
    spec = next(yaml.safe_load_all((tmp_path / "p.yaml").read_text()))
    definitions = {
        f"{name} {key}": definition
        for name, component in spec["components"].items()
        if "executorLabel" in component
        for side in ("inputDefinitions", "outputDefinitions")
        for kind in component.get(side, {}).values()
        for key, definition in kind.items()
    }
    assert len(definitions) > 40
    assert [name for name, definition in definitions.items() if not definition.get("description")] == []


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        for field in annotation.model_fields.values():
            yield from _models(field.annotation)
    for part in get_args(annotation):
        yield from _models(part)


def test_what_may_be_null_is_so_by_default() -> None:
    """KFP's structures have no null: one that a profile names would come back as another default."""
    fields = {(m, n): field for m in set(_models(Profile)) for n, field in m.model_fields.items()}
    assert len(fields) > 100
    nullable = {where for where, field in fields.items() if type(None) in get_args(field.annotation)}
    assert nullable and [where for where in nullable if fields[where].default is not None] == []


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
    passed = "inputs.parameter_values['pipelinechannel--gate-passed'] == true"
    asked = "inputs.parameter_values['pipelinechannel--{}'] != ''"
    assert {step: condition for step, condition in conditions.items() if not step.startswith("condition")} == {
        "build-release": passed,
        "notify-refusal": f"!({passed})",
        "deploy-release": asked.format("deploy_to"),
        "register-release": asked.format("registry"),
    }
    (within,) = (c for c in components.values() if "build-release" in c.get("dag", {}).get("tasks", {}))
    assert len(within["dag"]["tasks"]) == 3, "what registers and deploys lies within the gate's condition"


def test_batch_scoring_takes_its_shards_apart_on_gpus(tmp_path: Path) -> None:
    images = {"train": f"registry.example/archipelago/train@sha256:{'0' * 64}"}
    compile_pipeline("pairs", load_profile("cluster"), tmp_path / "p.yaml", images)
    spec, platform = yaml.safe_load_all((tmp_path / "p.yaml").read_text())
    (loop,) = (task for task in spec["root"]["dag"]["tasks"].values() if "iteratorPolicy" in task)
    assert loop["iteratorPolicy"] == {"parallelismLimit": 8}
    assert all(task["cachingOptions"] == {} for task in tasks_of(spec)), "both look or act outside of the run"
    executors = spec["deploymentSpec"]["executors"]
    assert {executor["container"]["image"] for executor in executors.values()} == {images["train"]}
    accelerator = executors["exec-publish-scores"]["container"]["resources"]["accelerator"]
    assert (accelerator["resourceType"], accelerator["resourceCount"]) == ("nvidia.com/gpu", "1")
    assert "exec-publish-scores" in platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


def test_fresh_features_are_written_a_release_a_step_by_a_store_that_a_secret_names(tmp_path: Path) -> None:
    compile_pipeline("features", load_profile("cluster"), tmp_path / "p.yaml", {"data": f"r/d@sha256:{'0' * 64}"})
    spec, platform = yaml.safe_load_all((tmp_path / "p.yaml").read_text())
    tasks = {task["componentRef"]["name"]: bool(task["cachingOptions"]) for task in tasks_of(spec)}
    assert tasks.pop("comp-build-features") and tasks.pop("comp-load")
    assert tasks.keys() == {"comp-find-data", "comp-find-scores", "comp-materialise-features", "comp-notify-end"}
    assert not any(tasks.values()), "what looks or acts outside of the run is never taken from the cache"
    loops = [
        task["parameterIterator"]["items"]["inputParameter"]
        for component in spec["components"].values()
        for task in component.get("dag", {}).get("tasks", {}).values()
        if "parameterIterator" in task
    ]
    assert loops == ["pipelinechannel--releases"]
    pods = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    asked = {
        (key["envVar"], secret["secretName"], secret.get("optional", False))
        for secret in pods["exec-materialise-features"]["secretAsEnv"]
        for key in secret["keyToEnv"]
    }
    assert asked == {
        ("ARCHIPELAGO_ONLINE_STORE", "archipelago-online-store", False),
        ("ARCHIPELAGO_FEATURE_REGISTRY", "archipelago-feature-registry", True),
    }
