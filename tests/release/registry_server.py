"""An HTTP server that behaves as Kubeflow's Model Registry (v1), over the models of its published API.

Bodies are read into the models that the API's description makes, so that a field it doesn't have is an error here.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from mr_openapi import models

from tests.loopback import Handler, on_loopback

Json = dict[str, Any]
_ROOT = "/api/model_registry/v1"


class Refused(Exception):
    """An answer other than 2xx."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Kept:
    """What the server holds.

    Attributes:
        dies_before: a path's last word at which it fails once: a registration that is cut off.
    """

    registered_models: list[Json] = field(default_factory=list)
    model_versions: list[Json] = field(default_factory=list)
    artifacts: list[Json] = field(default_factory=list)
    dies_before: str = ""
    token: str | None = None
    url: str = ""

    def answer(self, method: str, path: str, query: dict[str, str], body: Json | None) -> Json:
        """One request."""
        last = path.rpartition("/")[2]
        if self.dies_before == last and method == "POST":
            self.dies_before = ""
            raise Refused(500, "the database is gone")
        if method == "POST":
            return self._make(path, body or {})
        lists = {"registered_models": self.registered_models, "model_versions": self.model_versions}
        one = {
            "registered_model": "registered_models",
            "model_version": "model_versions",
            "model_artifact": "artifacts",
        }
        if last in lists:
            return _page(lists[last])
        if last in one:
            for entry in getattr(self, one[last]):
                parent = entry.get("registeredModelId") or entry.get("modelVersionId")
                if entry["name"] == query["name"] and query.get("parentResourceId") in (None, parent):
                    return dict(entry)
            raise Refused(404, f"no {last} found")
        if found := re.fullmatch(r"/registered_models/(\w+)/versions", path):
            return _page([each for each in self.model_versions if each["registeredModelId"] == found[1]])
        raise Refused(404, f"{path} not found")

    def _make(self, path: str, body: Json) -> Json:
        if path == "/registered_models":
            return self._add(self.registered_models, models.RegisteredModelCreate, body, "name")
        if path == "/model_versions":
            return self._add(self.model_versions, models.ModelVersionCreate, body, "registeredModelId")
        if found := re.fullmatch(r"/model_versions/(\w+)/artifacts", path):
            made = self._add(self.artifacts, models.ModelArtifactCreate, body, "name")
            self.artifacts[-1]["modelVersionId"] = found[1]
            return made
        raise Refused(404, f"{path} not found")

    def _add(self, entries: list[Json], model: Any, body: Json, required: str) -> Json:
        read = model.from_dict(body)
        known = {field.alias or name for name, field in model.model_fields.items()}
        if required not in body or set(body) - known or read is None:
            raise Refused(400, f"unknown fields {sorted(set(body) - known)}, or no {required}")
        for value in (body.get("customProperties") or {}).values():
            models.MetadataValue.from_dict(value)
        if any(each["name"] == body["name"] and each.get(required) == body.get(required) for each in entries):
            raise Refused(409, f"{body['name']} exists")  # also where several come at once
        entries.append(
            {**body, "id": str(len(entries) + 1), "createTimeSinceEpoch": "1", "lastUpdateTimeSinceEpoch": "1"}
        )
        return entries[-1]


def _page(items: list[Json]) -> Json:
    return {"items": items, "nextPageToken": "", "pageSize": len(items), "size": len(items)}


@contextmanager
def serving(kept: Kept) -> Iterator[Kept]:
    """Run the server on loopback while the context lasts."""

    class Answering(Handler):
        def _answer(self) -> None:
            content = self.content()
            address = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(address.query).items()}
            try:
                if kept.token and self.headers.get("Authorization") != f"Bearer {kept.token}":
                    raise Refused(401, "who are you?")
                body = json.loads(content) if content else None
                told = kept.answer(self.command, address.path.removeprefix(_ROOT), query, body)
                status = 201 if self.command == "POST" else 200
            except Refused as refused:
                status, told = refused.status, {"code": str(refused.status), "message": str(refused)}
            self.answer(status, told)

        do_GET = do_POST = do_PATCH = _answer

    with on_loopback(Answering) as kept.url:
        yield kept
