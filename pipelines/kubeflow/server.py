"""A Kubeflow Pipelines server, through its own client: what is asked of it, whole lists, and errors in one line."""

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

from kfp import Client
from kfp_server_api import ApiException
from kfp_server_api.models import V2beta1PipelineVersion, V2beta1RecurringRun, V2beta1Run
from urllib3.exceptions import HTTPError

from components.contracts.errors import ArchipelagoError, BadInput
from components.contracts.tools.log import get_logger

_PAGE = 100
_logger = get_logger(__name__)


class ServerError(ArchipelagoError):
    """The server can't be reached, or failed itself."""


class _Client(Client):  # type: ignore[misc]
    def get_kfp_healthz(self, sleep_duration: int = 0) -> Any:  # noqa: ARG002  the client's signature
        """Ask once: the client's own asks five times in 25 seconds, and prints a traceback each time."""
        return self._healthz_api.healthz_service_get_healthz()


class PipelineServer:
    """A server and the namespace in which things are made there."""

    def __init__(self, host: str, namespace: str | None = None, token_file: Path | None = None) -> None:
        """Connect.

        Args:
            host: address of the API or of the UI, e.g. "http://localhost:8888".
            namespace: of a profile, where the server has several users; None where it has none.
            token_file: file with a bearer token; None leaves that to the client's own variables (KF_PIPELINES_*).

        Raises:
            BadInput: no such file; the server refuses who asks.
            ServerError: nobody answers at `host`.
        """
        if not host.startswith(("http://", "https://")):
            raise BadInput(f"--host {host}: expected http:// or https://, as in http://localhost:8888")
        if token_file is not None and not token_file.is_file():
            raise BadInput(f"--token-file {token_file}: no such file")
        token = token_file.read_text(encoding="utf-8").strip() if token_file else None
        self.host, self.namespace = host.rstrip("/"), namespace
        with warnings.catch_warnings(), self._asking("connect to"):
            warnings.simplefilter("ignore", FutureWarning)
            self._client = _Client(host=self.host, existing_token=token)
            self._client.get_kfp_healthz()

    def version(self, pipeline: str, name: str) -> V2beta1PipelineVersion | None:
        """A pipeline's version by name; None where there is none."""
        with self._asking("list the pipelines of"):
            found = self._pipeline_id(pipeline)
            versions = self._all("pipeline_versions", self._client.list_pipeline_versions, found) if found else ()
            return next((each for each in versions if each.display_name == name), None)

    def upload(self, package: Path, pipeline: str, name: str, description: str) -> V2beta1PipelineVersion:
        """Upload a compiled pipeline as a version of that name; the pipeline is made where it is absent."""
        with self._asking(f"upload pipeline {pipeline} to"):
            known = self._pipeline_id(pipeline)
            if known is None:
                made = self._client.upload_pipeline(str(package), pipeline, description, self.namespace)
                known = made.pipeline_id
            return self._client.upload_pipeline_version(str(package), name, pipeline_id=known, description=description)

    def experiment(self, name: str, make: bool = True) -> str | None:
        """An experiment's id; made where it is absent, or None."""
        with self._asking(f"find experiment {name} at"):
            if make:
                return str(self._client.create_experiment(name, namespace=self.namespace).experiment_id)
            try:
                return str(self._client.get_experiment(experiment_name=name, namespace=self.namespace).experiment_id)
            except ValueError:  # the client's word for "there is none"
                return None

    def start(self, version: V2beta1PipelineVersion, experiment: str, name: str, parameters: dict[str, Any]) -> str:
        """Start a run of a pipeline's version and return its id."""
        with self._asking("start a run at"):
            run = self._client.run_pipeline(
                experiment,
                name,
                params=parameters,
                pipeline_id=version.pipeline_id,
                version_id=version.pipeline_version_id,
            )
            return str(run.run_id)

    def run(self, run_id: str) -> V2beta1Run:
        """A run as it is now."""
        with self._asking(f"look at run {run_id} of"):
            return self._client.get_run(run_id)

    def link(self, run_id: str) -> str:
        """Where a person sees a run."""
        return f"{self.host}/#/runs/details/{run_id}"

    def recurring_runs(self) -> list[V2beta1RecurringRun]:
        """All recurring runs of the namespace, of every experiment."""
        with self._asking("list the recurring runs of"):
            listed = self._client.list_recurring_runs
            return list(self._all("recurring_runs", listed, namespace=self.namespace))

    def create_recurring_run(self, **settings: Any) -> None:
        """Make a recurring run; settings as the client takes them."""
        with self._asking(f"schedule {settings['job_name']} at"):
            self._client.create_recurring_run(**settings)

    def delete_recurring_run(self, recurring_run_id: str) -> None:
        """Take a recurring run away; its runs stay."""
        with self._asking("delete a recurring run of"):
            self._client.delete_recurring_run(recurring_run_id)

    def _pipeline_id(self, name: str) -> str | None:
        predicate = {"operation": "EQUALS", "key": "display_name", "stringValue": name}
        wanted = json.dumps({"predicates": [predicate]})
        for found in self._all("pipelines", self._client.list_pipelines, filter=wanted, namespace=self.namespace):
            return str(found.pipeline_id)
        return None

    def _all(self, field: str, ask: Callable[..., Any], *args: Any, **kwargs: Any) -> Iterator[Any]:
        """Every entry of a list that comes in pages."""
        token = ""
        while True:
            page = ask(*args, page_token=token, page_size=_PAGE, **kwargs)
            yield from getattr(page, field) or ()
            token = page.next_page_token or ""
            if not token:
                return

    @contextlib.contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        said = io.StringIO()  # the client prints links of its own
        logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # each retry is no news
        try:
            with contextlib.redirect_stdout(said):
                yield
        except ApiException as error:
            raise self._explained(what, error) from error
        except HTTPError as error:
            reason = getattr(error, "reason", None) or error
            raise ServerError(f"cannot {what} {self.host}: {reason} (is it a Kubeflow Pipelines server?)") from error
        finally:
            if said.getvalue():
                _logger.debug("%s", said.getvalue().strip())

    def _explained(self, what: str, error: ApiException) -> ArchipelagoError:
        told = _message(error)
        where = f"cannot {what} {self.host}{f', namespace {self.namespace}' if self.namespace else ''}: {told}"
        if error.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            return BadInput(f"{where} (name a token that may: --token-file; and your --namespace)")
        if error.status is not None and HTTPStatus.BAD_REQUEST <= error.status < HTTPStatus.INTERNAL_SERVER_ERROR:
            return BadInput(where)
        return ServerError(where)


def _message(error: ApiException) -> str:
    """The server's own words, which it sends as JSON."""
    with contextlib.suppress(ValueError, TypeError):
        body = json.loads(error.body)
        if isinstance(body, dict) and (told := body.get("message") or body.get("error_message") or body.get("error")):
            return f"{error.status} {told}"
    return f"{error.status} {error.reason}"
