"""A compiled pipeline as custom resources, for servers that keep pipelines in Kubernetes (KFP 2.14 and newer).

A version's name holds the commit and the digest of what was compiled: applying the same one again changes nothing.
"""

from pathlib import Path
from typing import Any

import yaml

from pipelines.kubeflow.submission import Compiled

_API = "pipelines.kubeflow.org/v2beta1"


def write_manifests(pipeline: Compiled, out: Path) -> None:
    """Write a Pipeline and its PipelineVersion to `out` (.yaml), which is replaced as a whole."""
    out.parent.mkdir(parents=True, exist_ok=True)
    staging = out.with_name(f".staging-{out.name}")
    staging.write_text(yaml.safe_dump_all(manifests(pipeline), sort_keys=False, allow_unicode=True), encoding="utf-8")
    staging.rename(out)


def manifests(pipeline: Compiled) -> list[dict[str, Any]]:
    """The Pipeline and the PipelineVersion; their namespace is whoever's applies them."""
    spec, *platform = yaml.load_all(pipeline.text, yaml.CSafeLoader)
    version = {"pipelineName": pipeline.pipeline, "displayName": pipeline.version, "pipelineSpec": spec}
    if platform:
        version["platformSpec"] = platform[0]
    return [
        _resource("Pipeline", pipeline.pipeline, {"displayName": pipeline.pipeline}),
        _resource("PipelineVersion", f"{pipeline.pipeline}-{pipeline.version}", version),
    ]


def _resource(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": _API, "kind": kind, "metadata": {"name": name}, "spec": spec}
