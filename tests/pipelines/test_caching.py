"""What Kubeflow's cache tells runs apart by: a step's image, command and inputs."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.marketplace import component
from pipelines.choices import ROLES, Source
from pipelines.compile import compile_pipeline, tasks_of
from pipelines.profile import load_profile
from tests.marketplace.logs.user_log import user_tables, write_tables


def compiled(folder: Path, source: Source = "log", digit: str | None = None) -> dict[str, Any]:
    images = {role: f"registry.example/{role}@sha256:{digit * 64}" for role in ROLES} if digit else None
    compile_pipeline(source, load_profile("tiny"), folder / "p.yaml", images)
    return dict(next(yaml.safe_load_all((folder / "p.yaml").read_text())))


def steps(spec: dict[str, Any]) -> dict[str, Any]:
    """Every step's task, however deep it lies."""
    return {task["componentRef"]["name"].removeprefix("comp-"): task for task in tasks_of(spec)}


def key(spec: dict[str, Any], step: str, values: dict[str, str]) -> str:
    """What Kubeflow digests of a step: container, and inputs with `values` in place of channels and parameters."""
    executor = spec["deploymentSpec"]["executors"][spec["components"][f"comp-{step}"]["executorLabel"]]["container"]
    inputs = {}
    for name, binding in steps(spec)[step].get("inputs", {}).get("parameters", {}).items():
        output = binding.get("taskOutputParameter")
        channel = binding.get("componentInputParameter")
        if output:
            channel = f"{output['producerTask']} {output['outputParameterKey']}"
        if channel:
            channel = channel.removeprefix("pipelinechannel--")  # as a condition or an exit handler names it
            inputs[name] = values.get(channel, channel)
        else:
            inputs[name] = binding.get("runtimeValue", {}).get("constant")
    kept = [executor[part] for part in ("image", "command", "args")]
    return json.dumps([kept, inputs], sort_keys=True)


def test_other_content_behind_one_path_is_another_key(tmp_path: Path) -> None:
    spec, keys = compiled(tmp_path, digit="0"), []
    for price in (1.0, 1.0, 2.0):
        tables = user_tables()
        tables["items"]["price"] = price
        data = write_tables(tables, tmp_path / "data")
        version, _ = component.find_data.python_func(data=str(data), judgments="", as_of="", scheduled="")
        keys.append(key(spec, "load", {"find-data version": version, "data": str(data)}))
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize("source", ["simulator", "log"])
def test_another_end_of_the_log_and_another_image_are_other_keys(source: Source, tmp_path: Path) -> None:
    spec, other = compiled(tmp_path, source, "0"), compiled(tmp_path, source, "1")
    channels = {"simulator": ["as_of"], "log": ["find-data as_of", "load as_of", "load-as_of"]}[source]
    first = "simulate" if source == "simulator" else "load"
    for step in (first, "build-samples", "build-features", "build-release"):
        one, same, two = (
            key(spec, step, dict.fromkeys(channels, day)) for day in ("2026-01-01", "2026-01-01", "2026-01-02")
        )
        assert one == same != two
        assert "as_of" not in json.loads(one)[1].values(), "every step's time is put in here"
    for step in steps(spec):
        assert key(spec, step, {}) != key(other, step, {})


@pytest.mark.parametrize("source", ["log", "judgments"])
def test_a_runs_own_time_reaches_later_steps_through_one_that_is_never_cached(source: Source, tmp_path: Path) -> None:
    tasks = steps(compiled(tmp_path, source, "0"))
    scheduled = "{{$.pipeline_job_schedule_time_utc}}"
    told = [name for name, task in tasks.items() if scheduled in json.dumps(task)]
    assert told == ["find-data"]
    assert [name for name, task in tasks.items() if "pipelinechannel--as_of" in json.dumps(task)] == ["find-data"]


@pytest.mark.parametrize("source", ["simulator", "log", "judgments"])
def test_steps_that_look_or_act_outside_run_each_time_and_no_others(source: Source, tmp_path: Path) -> None:
    tasks = steps(compiled(tmp_path, source, "0"))
    outside = {"find-champion", "register-release", "deploy-release", "notify-end", "notify-refusal"}
    outside |= set() if source == "simulator" else {"find-data"}
    assert {name for name, task in tasks.items() if not task["cachingOptions"].get("enableCache")} == outside
    assert "build-release" in tasks, "steps within a condition are looked at, too"


def test_images_without_a_digest_are_not_cached(tmp_path: Path) -> None:
    tasks = steps(compiled(tmp_path, "simulator"))
    assert [name for name, task in tasks.items() if task["cachingOptions"].get("enableCache")] == []


@pytest.mark.parametrize(
    ("source", "absent", "required"),
    [
        ("simulator", {"data", "judgments", "markets"}, set()),
        ("log", {"marketplace_config"}, {"data"}),
        ("judgments", {"data", "marketplace_config", "ranking_config"}, {"judgments"}),
    ],
)
def test_a_pipeline_shows_what_its_source_uses(
    source: Source, absent: set[str], required: set[str], tmp_path: Path
) -> None:
    parameters = compiled(tmp_path, source)["root"]["inputDefinitions"]["parameters"]
    assert not absent & parameters.keys()
    assert {name for name, parameter in parameters.items() if "defaultValue" not in parameter} == required
    assert [name for name, parameter in parameters.items() if not parameter.get("description")] == []
