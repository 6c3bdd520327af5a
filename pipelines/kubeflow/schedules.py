"""Recurring runs as a file says them: made where absent, replaced where changed, taken away where no longer named.

Kubeflow Pipelines changes nothing of a recurring run but whether it is enabled, so a change is a new one in place of
the old. What a file made bears the file's name as a mark in its description, in whatever experiment it stands;
recurring runs without it are never touched.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import yaml
from kfp_server_api.models import V2beta1RecurringRun
from pydantic import Field, ValidationError, model_validator

from components.contracts.config import StageConfig, explained
from components.contracts.errors import BadInput
from pipelines.choices import PipelineKind
from pipelines.kubeflow.server import PipelineServer
from pipelines.kubeflow.submission import Compiled, check_parameters, compiled, upload
from pipelines.profile import load_profile

_MARK = re.compile(r"archipelago schedules ([a-z0-9-]+) ([0-9a-f]{12})")


class Schedule(StageConfig):
    """One recurring run.

    Attributes:
        source: where its log comes from; or pairs, for batch scoring; or features, for those of served releases.
        profile: built-in profile or a YAML file.
        parameters: of the pipeline, beside the profile's; `as_of` is the time for which a run was scheduled.
        cron: six fields, seconds first, in UTC.
        every_seconds: instead of it, an interval.
        max_concurrency: runs of it at a time.
        catch_up: whether runs that were missed are made up for.
        enabled: whether it runs at all.
    """

    source: PipelineKind = "log"
    profile: str = "cluster"
    parameters: Mapping[str, Any] = Field(default_factory=dict)
    cron: str | None = None
    every_seconds: int | None = Field(default=None, ge=60)
    max_concurrency: int = Field(default=1, ge=1, le=10)
    catch_up: bool = False
    enabled: bool = True

    @model_validator(mode="after")
    def _one_trigger(self) -> Self:
        if (self.cron is None) == (self.every_seconds is None):
            raise ValueError("name either cron or every_seconds")
        if self.cron is not None and len(self.cron.split()) != 6:
            raise ValueError(f"cron {self.cron!r}: six fields, seconds first, as in '0 0 2 * * *' for two at night")
        return self


class Schedules(StageConfig):
    """A file of schedules.

    Attributes:
        name: of the file, by which it knows what it made; two files have two names.
        experiment: of the runs.
        images: by role.
        schedules: recurring runs by name.
    """

    name: str = Field(default="archipelago", pattern=r"^[a-z0-9-]+$")
    experiment: str = "archipelago-scheduled"
    images: Mapping[str, str] = Field(default_factory=dict)
    schedules: Mapping[str, Schedule]


def read_schedules(path: Path) -> Schedules:
    """A file's schedules; BadInput names what is wrong and where."""
    try:
        return Schedules.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise BadInput(f"{path}: no such file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: no YAML ({str(error).splitlines()[0]})") from error
    except ValidationError as error:
        raise BadInput(f"{path}: {explained(error)}") from error


def sync(server: PipelineServer, schedules: Schedules, dry_run: bool = False) -> list[str]:
    """Make the server's recurring runs those of the file.

    A replacement is made before what it replaces is taken away: a command that dies between leaves one too many, which
    the next one takes away.

    Returns:
        What was done, or with `dry_run` would be, a line each; nothing where all is as it should be.

    Raises:
        BadInput: a pipeline's parameter that is not known, or an invalid profile; nothing has been changed then.
    """
    pipelines = {name: _compiled(name, schedule, schedules.images) for name, schedule in schedules.schedules.items()}
    marks = {name: _mark(schedules, name, pipeline) for name, pipeline in pipelines.items()}
    experiment = server.experiment(schedules.experiment, make=not dry_run)
    ours: dict[str, list[tuple[str, V2beta1RecurringRun]]] = {}
    for run in server.recurring_runs():
        if (found := _MARK.search(run.description or "")) and found[1] == schedules.name:
            ours.setdefault(run.display_name, []).append((found[2], run))

    done, surplus = [], []
    for name, schedule in schedules.schedules.items():
        there = sorted(ours.pop(name, []), key=lambda each: each[0] != marks[name])  # what is as it should be first
        if there and there[0][0] == marks[name]:
            done += [f"remove {name}: made twice"] if there[1:] else []
            surplus += there[1:]
            continue
        done.append(f"{'replace' if there else 'create'} {name}: {_when(schedule)}")
        surplus += there
        if experiment is not None and not dry_run:
            mark = f"archipelago schedules {schedules.name} {marks[name]}"
            _create(server, experiment, name, schedule, pipelines[name], mark)
    done += [f"remove {name}: not in the file" for name in sorted(ours)]
    surplus += [run for name in sorted(ours) for run in ours[name]]
    for _, run in () if dry_run else surplus:
        server.delete_recurring_run(run.recurring_run_id)
    return done


def _compiled(name: str, schedule: Schedule, images: Mapping[str, str]) -> Compiled:
    pipeline = compiled(schedule.source, load_profile(schedule.profile), images)
    check_parameters(pipeline, schedule.parameters, f"schedule {name}")
    return pipeline


def _mark(schedules: Schedules, name: str, pipeline: Compiled) -> str:
    schedule = schedules.schedules[name].model_dump(mode="json")
    said = json.dumps([schedule, schedules.experiment, pipeline.version], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()[:12]


def _create(
    server: PipelineServer, experiment: str, name: str, schedule: Schedule, pipeline: Compiled, mark: str
) -> None:
    version = upload(server, pipeline)
    server.create_recurring_run(
        experiment_id=experiment,
        job_name=name,
        description=f"{mark}: made from a file, which is where to change it",
        cron_expression=schedule.cron,
        interval_second=schedule.every_seconds,
        max_concurrency=schedule.max_concurrency,
        no_catchup=not schedule.catch_up,
        params=dict(schedule.parameters),
        pipeline_id=version.pipeline_id,
        version_id=version.pipeline_version_id,
        enabled=schedule.enabled,
    )


def _when(schedule: Schedule) -> str:
    when = f"cron {schedule.cron}" if schedule.cron else f"every {schedule.every_seconds} s"
    return when if schedule.enabled else f"{when}, disabled"
