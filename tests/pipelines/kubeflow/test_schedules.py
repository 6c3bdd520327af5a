"""`archipelago schedules sync`: recurring runs become those of the file, and others stay."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp_server_api import models

from components.contracts.errors import BadInput
from tests.pipelines.kubeflow.conftest import Command
from tests.pipelines.kubeflow.pipeline_server import Kubeflow

EXAMPLE = Path(__file__).resolve().parents[3] / "pipelines" / "schedules.yaml"
NIGHTLY = {"profile": "tiny", "source": "log", "parameters": {"data": "s3://shop/log"}, "cron": "0 0 2 * * *"}
HOURLY = {"profile": "tiny", "source": "simulator", "every_seconds": 3600}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "schedules.yaml"


def write(file: Path, **schedules: Any) -> None:
    file.write_text(yaml.safe_dump({"schedules": schedules}))


def names(kubeflow: Kubeflow) -> list[str]:
    return sorted(each.display_name for each in kubeflow.recurring)


def test_what_is_absent_is_made_and_a_second_time_changes_nothing(
    kubeflow: Kubeflow, archipelago: Command, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(file, nightly=NIGHTLY, hourly=HOURLY | {"enabled": False, "max_concurrency": 2})
    archipelago("schedules", "sync", file)
    assert "create nightly: cron 0 0 2 * * *" in capsys.readouterr().out
    nightly, hourly = sorted(kubeflow.recurring, key=lambda each: each.display_name, reverse=True)
    assert (nightly.trigger.cron_schedule.cron, nightly.mode, nightly.no_catchup) == ("0 0 2 * * *", "ENABLE", True)
    assert nightly.runtime_config.parameters == {"data": "s3://shop/log"}
    assert (hourly.trigger.periodic_schedule.interval_second, hourly.mode) == ("3600", "DISABLE")
    assert hourly.max_concurrency == "2"
    before = [each.recurring_run_id for each in kubeflow.recurring]
    archipelago("schedules", "sync", file)
    assert [each.recurring_run_id for each in kubeflow.recurring] == before
    assert capsys.readouterr().out == "all as it should be\n"


def test_what_changed_is_replaced_and_what_is_gone_removed(
    kubeflow: Kubeflow, archipelago: Command, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(file, nightly=NIGHTLY, hourly=HOURLY)
    archipelago("schedules", "sync", file)
    write(file, nightly=NIGHTLY | {"cron": "0 0 3 * * *"})
    archipelago("schedules", "sync", file)
    assert [each.trigger.cron_schedule.cron for each in kubeflow.recurring] == ["0 0 3 * * *"]
    said = capsys.readouterr().out
    assert "replace nightly: cron 0 0 3 * * *" in said and "remove hourly: not in the file" in said


def test_what_others_made_stays(kubeflow: Kubeflow, archipelago: Command, file: Path) -> None:
    write(file, nightly=NIGHTLY)
    archipelago("schedules", "sync", file)
    theirs = [
        models.V2beta1RecurringRun(display_name=name, recurring_run_id=name, description=told, experiment_id=where)
        for name, told, where in (
            ("nightly", "made by hand", kubeflow.experiments[0].experiment_id),
            ("weekly", None, kubeflow.experiments[0].experiment_id),
            (
                "monthly",
                "archipelago schedules another 0123456789ab: of another file",
                kubeflow.experiments[0].experiment_id,
            ),
        )
    ]
    kubeflow.recurring += theirs
    write(file, hourly=HOURLY)
    archipelago("schedules", "sync", file)
    assert names(kubeflow) == ["hourly", "monthly", "nightly", "weekly"]


def test_another_experiment_takes_its_runs_along(kubeflow: Kubeflow, archipelago: Command, file: Path) -> None:
    for experiment in ("a", "b"):
        file.write_text(yaml.safe_dump({"experiment": experiment, "schedules": {"hourly": HOURLY}}))
        archipelago("schedules", "sync", file)
    (only,) = kubeflow.recurring
    (b,) = (each for each in kubeflow.experiments if each.display_name == "b")
    assert only.experiment_id == b.experiment_id


def test_a_sync_that_died_half_way_is_mended_by_the_next(
    kubeflow: Kubeflow, archipelago: Command, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(file, nightly=NIGHTLY)
    archipelago("schedules", "sync", file)
    twin = models.V2beta1RecurringRun(**kubeflow.recurring[0].to_dict() | {"recurring_run_id": "twin"})
    kubeflow.recurring.append(twin)
    archipelago("schedules", "sync", file)
    assert len(kubeflow.recurring) == 1
    assert "remove nightly: made twice" in capsys.readouterr().out


def test_more_than_a_page_of_them(kubeflow: Kubeflow, archipelago: Command, file: Path) -> None:
    many = {f"hourly-{number}": HOURLY for number in range(7)}
    write(file, **many)
    archipelago("schedules", "sync", file)
    archipelago("schedules", "sync", file)
    assert names(kubeflow) == sorted(many)


def test_a_dry_run_says_and_does_nothing(
    kubeflow: Kubeflow, archipelago: Command, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(file, nightly=NIGHTLY)
    archipelago("schedules", "sync", file, "--dry-run")
    assert "create nightly" in capsys.readouterr().out
    assert not any(call.startswith(("POST", "DELETE")) for call in kubeflow.asked)
    archipelago("schedules", "sync", file)
    write(file, hourly=HOURLY)
    kubeflow.asked.clear()
    archipelago("schedules", "sync", file, "--dry-run")
    assert "remove nightly" in capsys.readouterr().out
    assert not any(call.startswith(("POST", "DELETE")) for call in kubeflow.asked)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"cron": "0 2 * * *"}, "nightly: .*cron '0 2 \\* \\* \\*': six fields, seconds first"),
        ({"cron": None}, "nightly: .*name either cron or every_seconds"),
        ({"every_seconds": 60}, "nightly: .*name either cron or every_seconds"),
        ({"every": 60}, "nightly.every: Extra inputs are not permitted"),
        ({"source": "logs"}, "nightly.source: Input should be"),
        ({"parameters": {"data": "x", "when": "now"}}, "schedule nightly: no parameter when"),
        ({"parameters": {}}, "schedule nightly: parameter data is missing"),
        ({"profile": "enormous"}, "enormous"),
    ],
)
def test_a_file_that_is_wrong_changes_nothing(
    kubeflow: Kubeflow, archipelago: Command, file: Path, change: dict[str, Any], says: str
) -> None:
    write(file, hourly=HOURLY, nightly=NIGHTLY | change)
    with pytest.raises(BadInput, match=says):
        archipelago("schedules", "sync", file)
    assert kubeflow.recurring == [] and kubeflow.versions == []


def test_no_yaml_and_no_file(archipelago: Command, file: Path) -> None:
    with pytest.raises(BadInput, match="no such file"):  # though nobody would answer either
        archipelago("schedules", "sync", file, "--host", "http://127.0.0.1:9")
    file.write_text("schedules: [")
    with pytest.raises(BadInput, match="no YAML"):
        archipelago("schedules", "sync", file)


def test_the_example_is_taken(kubeflow: Kubeflow, archipelago: Command) -> None:
    archipelago("schedules", "sync", EXAMPLE)
    assert names(kubeflow) == sorted(yaml.safe_load(EXAMPLE.read_text())["schedules"])
