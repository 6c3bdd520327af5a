"""An HTTP server that behaves as Kubeflow Pipelines' API (v2beta1) does, over the models of its own client.

Bodies are read into those models and answers written from them, so that a field the API doesn't have is an error here.
Lists come in short pages, namespaces and tokens are asked for as on a server with several users, and a run moves one
step forward each time that somebody looks at it.
"""

import datetime
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import kfp_server_api
from kfp_server_api import models

from tests.loopback import Handler, on_loopback

PAGE = 3
_NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


class Refused(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Kubeflow:
    """What the server holds, and what it asks for.

    Attributes:
        token: that a request must bear; None asks for none.
        namespaces: that exist for whoever asks; None is a server with one user.
        ends: states of steps and of the run, look by look: the last one stays.
    """

    token: str | None = None
    namespaces: tuple[str, ...] | None = None
    ends: list[tuple[dict[str, str], str]] = field(default_factory=lambda: [({}, "SUCCEEDED")])
    broken: bool | int = False  # or for so many requests
    url: str = ""
    experiments: list[Any] = field(default_factory=list)
    pipelines: list[Any] = field(default_factory=list)
    versions: list[Any] = field(default_factory=list)
    runs: list[Any] = field(default_factory=list)
    recurring: list[Any] = field(default_factory=list)
    packages: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def answer(self, method: str, path: str, query: dict[str, str], body: Callable[[Any], Any]) -> Any:
        """One request."""
        self.asked.append(f"{method} {path}")
        if self.broken:
            self.broken = self.broken - 1 if self.broken is not True else True
            raise Refused(500, "the database is gone")
        for pattern, act in _ROUTES.items():
            verb, _, shape = pattern.partition(" ")
            if verb == method and (found := re.fullmatch(shape, path)):
                return act(self, query, body, **found.groupdict())
        raise Refused(404, f"{path} not found")

    def allowed(self, namespace: str | None) -> str | None:
        if self.namespaces is not None and namespace not in self.namespaces:
            raise Refused(403, f"User is not authorized in namespace {namespace!r}")
        return namespace

    def listed(self, name: str, entries: list[Any], query: dict[str, str], response: type) -> Any:
        entries = [each for each in entries if _matches(each, query.get("filter"))]
        start = int(query.get("page_token") or 0)
        size = min(PAGE, int(query.get("page_size") or PAGE))
        following = str(start + size) if start + size < len(entries) else ""
        return response(**{name: entries[start : start + size], "next_page_token": following})

    def list_experiments(self, query: dict[str, str], body: Any) -> Any:
        namespace = self.allowed(query.get("namespace"))
        ours = [each for each in self.experiments if each.namespace == namespace]
        return self.listed("experiments", ours, query, models.V2beta1ListExperimentsResponse)

    def create_experiment(self, query: dict[str, str], body: Any) -> Any:
        made = body(models.V2beta1Experiment)
        made.namespace = self.allowed(made.namespace or None)  # the client writes "" for none
        return _add(self.experiments, made, "experiment_id")

    def list_pipelines(self, query: dict[str, str], body: Any) -> Any:
        namespace = self.allowed(query.get("namespace"))
        ours = [each for each in self.pipelines if each.namespace == namespace]
        return self.listed("pipelines", ours, query, models.V2beta1ListPipelinesResponse)

    def list_versions(self, query: dict[str, str], body: Any, pipeline: str) -> Any:
        ours = [each for each in self.versions if each.pipeline_id == pipeline]
        return self.listed("pipeline_versions", ours, query, models.V2beta1ListPipelineVersionsResponse)

    def upload(self, query: dict[str, str], body: Any) -> Any:
        namespace = self.allowed(query.get("namespace"))
        if any(each.display_name == query["name"] and each.namespace == namespace for each in self.pipelines):
            raise Refused(409, f"pipeline {query['name']} exists")
        made = models.V2beta1Pipeline(
            display_name=query["name"], description=query.get("description"), namespace=namespace, created_at=_NOW
        )
        _add(self.pipelines, made, "pipeline_id")
        self._add_version(made.pipeline_id, query["name"], body(None))
        return made

    def upload_version(self, query: dict[str, str], body: Any) -> Any:
        return self._add_version(query["pipelineid"], query["name"], body(None))

    def _add_version(self, pipeline: str, name: str, package: str) -> Any:
        if any(each.pipeline_id == pipeline and each.display_name == name for each in self.versions):
            raise Refused(409, f"version {name} exists")
        self.packages.append(package)
        made = models.V2beta1PipelineVersion(pipeline_id=pipeline, display_name=name, created_at=_NOW)
        return _add(self.versions, made, "pipeline_version_id")

    def create_run(self, query: dict[str, str], body: Any) -> Any:
        made = body(models.V2beta1Run)
        self._known(made)
        made.state = "PENDING"
        return _add(self.runs, made, "run_id")

    def get_run(self, query: dict[str, str], body: Any, run: str) -> Any:
        found = next((each for each in self.runs if each.run_id == run), None)
        if found is None:
            raise Refused(404, f"run {run} not found")
        steps, found.state = self.ends[0]
        self.ends = self.ends[1:] or self.ends
        tasks = [
            models.V2beta1PipelineTaskDetail(
                display_name=name,
                task_id=name,
                state=state,
                error=models.GoogleRpcStatus(code=1, message="out of memory") if state == "FAILED" else None,
            )
            for name, state in {"root-driver": "SUCCEEDED", **steps}.items()
        ]
        found.run_details = models.V2beta1RunDetails(task_details=tasks)
        return found

    def create_recurring(self, query: dict[str, str], body: Any) -> Any:
        made = body(models.V2beta1RecurringRun)
        self._known(made)
        cron = made.trigger.cron_schedule
        if cron is not None and len(cron.cron.split()) != 6:
            raise Refused(400, f"cron {cron.cron}: expected 6 fields")
        return _add(self.recurring, made, "recurring_run_id")

    def list_recurring(self, query: dict[str, str], body: Any) -> Any:
        namespace = self.allowed(query.get("namespace"))
        places = {each.experiment_id for each in self.experiments if each.namespace == namespace}
        ours = [each for each in self.recurring if each.experiment_id in places]
        return self.listed("recurring_runs", ours, query, models.V2beta1ListRecurringRunsResponse)

    def delete_recurring(self, query: dict[str, str], body: Any, recurring: str) -> Any:
        before = len(self.recurring)
        self.recurring = [each for each in self.recurring if each.recurring_run_id != recurring]
        if len(self.recurring) == before:
            raise Refused(404, f"recurring run {recurring} not found")
        return {}

    def _known(self, made: Any) -> None:
        if made.experiment_id not in [each.experiment_id for each in self.experiments]:
            raise Refused(404, f"experiment {made.experiment_id} not found")
        wanted = made.pipeline_version_reference.pipeline_version_id
        if wanted not in [each.pipeline_version_id for each in self.versions]:
            raise Refused(404, f"version {wanted} not found")

    def healthz(self, query: dict[str, str], body: Any) -> Any:
        return models.V2beta1GetHealthzResponse(multi_user=self.namespaces is not None)


_ROUTES: dict[str, Callable[..., Any]] = {
    "GET /healthz": Kubeflow.healthz,
    "GET /experiments": Kubeflow.list_experiments,
    "POST /experiments": Kubeflow.create_experiment,
    "GET /pipelines": Kubeflow.list_pipelines,
    "GET /pipelines/(?P<pipeline>[^/]+)/versions": Kubeflow.list_versions,
    "POST /pipelines/upload": Kubeflow.upload,
    "POST /pipelines/upload_version": Kubeflow.upload_version,
    "POST /runs": Kubeflow.create_run,
    "GET /runs/(?P<run>[^/]+)": Kubeflow.get_run,
    "GET /recurringruns": Kubeflow.list_recurring,
    "POST /recurringruns": Kubeflow.create_recurring,
    "DELETE /recurringruns/(?P<recurring>[^/]+)": Kubeflow.delete_recurring,
}


def _add(entries: list[Any], made: Any, identity: str) -> Any:
    setattr(made, identity, f"{identity}-{len(entries)}")
    entries.append(made)
    return made


def _matches(entry: Any, wanted: str | None) -> bool:
    predicates = json.loads(wanted)["predicates"] if wanted else ()
    return all(getattr(entry, each["key"]) == each["stringValue"] for each in predicates)


@contextmanager
def serving(kubeflow: Kubeflow) -> Iterator[Kubeflow]:
    """Run the server on loopback while the context lasts."""
    api = kfp_server_api.ApiClient()

    class Answering(Handler):
        def _answer(self) -> None:
            content = self.content()
            address = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(address.query).items()}

            def body(model: Any) -> Any:
                if model is None:
                    headers = f"Content-Type: {self.headers['Content-Type']}\n\n".encode()
                    (part,) = message_from_bytes(headers + content).get_payload()  # type: ignore[misc]
                    return part.get_payload(decode=True).decode()  # type: ignore[union-attr]
                given = json.loads(content)
                if surplus := set(given) - set(model.attribute_map.values()):
                    raise Refused(400, f"unknown fields {sorted(surplus)}")
                return api.deserialize(SimpleNamespace(data=content.decode()), model)

            try:
                if kubeflow.token and self.headers.get("Authorization") != f"Bearer {kubeflow.token}":
                    raise Refused(401, "Request header error: there is no user identity header")
                made = kubeflow.answer(self.command, address.path.removeprefix("/apis/v2beta1"), query, body)
                status, told = 200, api.sanitize_for_serialization(made)
            except Refused as refused:
                status, told = refused.status, {"code": 7, "message": str(refused), "error": str(refused)}
            self.answer(status, told)

        do_GET = do_POST = do_DELETE = _answer

    with on_loopback(Answering) as kubeflow.url:
        yield kubeflow
