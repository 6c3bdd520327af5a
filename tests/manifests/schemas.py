"""Strict validation of Kubernetes manifests without a cluster.

Core kinds go by the schemas of `kubernetes-validate`, custom resources by their CRD's openAPIV3Schema. A field that the
schema doesn't name is an error, as it is for an API server under strict field validation; so is a kind without one.
"""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml

from tests.manifests.documented import SCHEMAS, containers_of

Manifest = Mapping[str, Any]

KUBERNETES = "1.34"
_CORE_GROUPS = {"", "apps", "autoscaling", "batch", "policy"}


class Schemas:
    """Schemas of custom resources in a folder: CRDs as *.yaml, JSON schemas as json/<group>/<kind>_<version>.json."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def problems(self, manifest: Manifest) -> list[str]:
        """What is wrong with a manifest, each with its place; empty when it is valid."""
        name = f"{manifest.get('kind')}/{manifest.get('metadata', {}).get('name')}"
        try:
            group, _, version = str(manifest["apiVersion"]).rpartition("/")
            schema = _custom_schema(self._folder, group, version, str(manifest["kind"]))
            if schema is None and (group in _CORE_GROUPS or group.endswith(".k8s.io")):
                return [f"{name}: {problem}" for problem in _core_problems(manifest)]
        except KeyError as missing:
            return [f"{name}: no {missing}"]
        if schema is None:
            return [f"{name}: no schema for {manifest['apiVersion']} {manifest['kind']}"]
        # A CRD leaves metadata to the API server: check it as a core kind's.
        metadata = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": manifest["metadata"]}
        found = [*_errors(schema, manifest), *_core_problems(metadata)]
        for container in containers_of(manifest) if not found else []:
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {}, "spec": {"containers": [container]}}
            found += _core_problems(pod)
        return [f"{name}: {problem}" for problem in found]


def _core_problems(manifest: Manifest) -> list[str]:
    try:
        kubernetes_validate.validate(dict(manifest), KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [f"{'.'.join(map(str, error.absolute_path))}: {error.message}"]
    except kubernetes_validate.SchemaNotFoundError as error:
        return [error.message]
    return []


def _errors(schema: Mapping[str, Any], manifest: Manifest) -> Iterator[str]:
    for error in jsonschema.Draft202012Validator(schema).iter_errors(manifest):
        yield f"{'.'.join(map(str, error.absolute_path))}: {error.message[:300]}"


@cache
def _custom_schema(folder: Path, group: str, version: str, kind: str) -> dict[str, Any] | None:
    for path in folder.glob(f"{group}_*.yaml"):
        spec = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)["spec"]
        if spec["names"]["kind"] != kind:
            continue
        served = {entry["name"]: entry for entry in spec["versions"] if entry.get("served", True)}
        return _strict(served[version]["schema"]["openAPIV3Schema"], top=True) if version in served else None
    path = folder / "json" / group / f"{kind.lower()}_{version}.json"
    if path.is_file():
        return _strict(json.loads(path.read_text(encoding="utf-8")), top=True)
    return SCHEMAS.get((group, version, kind))


def _strict(schema: Any, top: bool = False) -> Any:
    """The schema with every object closed that names its fields and doesn't say that it keeps unknown ones."""
    if isinstance(schema, list):
        return [_strict(entry) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _strict(value) for key, value in schema.items() if key != "properties"}
    if "properties" in schema:
        closed["properties"] = {name: _strict(value) for name, value in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            closed.setdefault("additionalProperties", False)
    if top:
        # Every kind has these; some schemas leave them to the API server.
        named = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}}
        closed["properties"] = {**named, **closed["properties"], "metadata": {"type": "object"}}
    return closed
