"""One object that a Kubernetes API server keeps for us: made, looked at until it comes to its end, removed."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from kubernetes import client
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from components.contracts.errors import ArchipelagoError, BadInput
from components.contracts.tools.log import get_logger

POLL_S = 10.0
# How long an API server may be away before one who waits gives up what may go on without it.
SILENCE_S = 600.0
_TIMEOUT_S = 15
# What an API server answers when it is asked too much, restarts, or stands behind a proxy without it.
_LATER = {HTTPStatus.TOO_MANY_REQUESTS, *(status for status in HTTPStatus if status >= 500)}
_logger = get_logger(__name__)

Json = dict[str, Any]


class ClusterSilent(ArchipelagoError):
    """The API server does not answer, or not now."""


@dataclass(frozen=True)
class ClusterObject:
    """An object of a custom kind by its name, there or not.

    Attributes:
        kind: as people say it, such as "TrainJob".
        group, version, plural: as the API server says it.
        namespace, name: of the object.
        about: what it is for, in messages.
        hint: where that is told which it needs.
    """

    kind: str
    group: str
    version: str
    plural: str
    namespace: str
    name: str
    about: str
    hint: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name} ({self.about})"

    def read(self) -> Json | None:
        """What the API server has of it; None where it is not there."""
        with self.asking("read"):
            try:
                found = self._objects().get_namespaced_custom_object(
                    self.group, self.version, self.namespace, self.plural, self.name, _request_timeout=_TIMEOUT_S
                )
            except ApiException as error:
                if error.status == HTTPStatus.NOT_FOUND:
                    return None
                raise
        return dict(found)

    def create(self, spec: Json) -> bool:
        """Make it; False where it is there."""
        body = {
            "apiVersion": f"{self.group}/{self.version}",
            "kind": self.kind,
            "metadata": {"name": self.name},
            "spec": spec,
        }
        with self.asking("make"):
            try:
                self._objects().create_namespaced_custom_object(
                    self.group, self.version, self.namespace, self.plural, body, _request_timeout=_TIMEOUT_S
                )
            except ApiException as error:
                if error.status == HTTPStatus.CONFLICT:
                    return False
                raise
        return True

    def remove(self) -> None:
        """Remove it and wait until it is gone; one that is not there is no error."""
        with self.asking("remove"):
            try:
                self._objects().delete_namespaced_custom_object(
                    self.group, self.version, self.namespace, self.plural, self.name, _request_timeout=_TIMEOUT_S
                )
            except ApiException as error:
                if error.status != HTTPStatus.NOT_FOUND:
                    raise
        until = time.monotonic() + SILENCE_S
        while self.read() is not None:
            if time.monotonic() > until:
                raise ClusterSilent(f"{self}: is being removed, and does not go")
            time.sleep(min(POLL_S, 1.0))

    def wait(self, look: Callable[[Json], str | None]) -> None:
        """Return when it has come to its end.

        Args:
            look: what it does now, which is logged when it changes; None at its end; raises where that is a bad one.

        Raises:
            ClusterSilent: the API server stayed away for long, or somebody removed the object.
        """
        said, heard = "", time.monotonic()
        while True:
            try:
                found, heard = self.read(), time.monotonic()
            except ClusterSilent as error:
                if time.monotonic() - heard > SILENCE_S:
                    raise ClusterSilent(f"{error}; it may go on without this step") from error
                time.sleep(POLL_S)
                continue
            if found is None:
                raise ClusterSilent(f"{self}: somebody removed it")
            state = look(found)
            if state is None:
                return
            if state != said:
                _logger.info("%s %s: %s", self.kind, self.name, state)
            said = state
            time.sleep(POLL_S)

    @contextmanager
    def asking(self, verb: str) -> Iterator[None]:
        """What the API server refuses as an error of ours, in one line: asked wrongly, or it can't answer now."""
        try:
            yield
        except (ApiException, RuntimeError, TimeoutError, ValueError, HTTPError) as error:
            status = status_of(error)
            if status in _LATER or (status is None and not isinstance(error, ValueError)):
                raise ClusterSilent(f"{self}: can't {verb} it now: {reason(error)}") from error
            raise BadInput(f"{self}: can't {verb} it: {reason(error)} (see {self.hint})") from error

    @staticmethod
    def _objects() -> client.CustomObjectsApi:
        return client.CustomObjectsApi()


def status_of(error: BaseException) -> int | None:
    """The API server's status, also where a library wrapped it; None where it did not answer."""
    cause = error if isinstance(error, ApiException) else error.__cause__
    return cause.status or None if isinstance(cause, ApiException) else None


def reason(error: BaseException) -> str:
    """What the API server said, or the library where that was not asked, in one line."""
    cause = error.__cause__ or error
    if not isinstance(cause, ApiException):
        return " ".join(str(cause).split())
    try:
        return " ".join(str(json.loads(cause.body)["message"]).split())
    except (TypeError, ValueError, KeyError):
        return f"{cause.status} {cause.reason}"
