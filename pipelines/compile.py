"""Compile a pipeline to the YAML that Kubeflow Pipelines takes, with every role mapped to a real image."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import yaml
from kfp import compiler, dsl

from components.contracts.errors import BadInput
from components.contracts.locations import claim_of
from components.contracts.training.config import STEP_IMAGE
from pipelines.choices import ROLES, PipelineKind, RoleName
from pipelines.features_pipeline import build_features_pipeline
from pipelines.profile import Profile
from pipelines.scoring_pipeline import build_scoring_pipeline
from pipelines.training_pipeline import build_pipeline

# First words of the names of steps that look at or change what is outside of their run.
_OUTSIDE = frozenset({"find", "apply", "materialise", "register", "deploy", "notify", "publish"})


def compile_pipeline(
    source: PipelineKind, profile: Profile, out: Path, images: Mapping[str, str] | None = None
) -> None:
    """Write the compiled pipeline to `out` (.yaml).

    Args:
        source: where the log comes from; or pairs, for batch scoring; or features, for those of served releases.
        profile: default parameters of the pipeline.
        out: target file; replaced as a whole.
        images: role ("data", "train", ...) -> image reference, best by digest: steps of an image
            without one are not cached. Roles left out keep the local name `archipelago-<role>`.

    Raises:
        BadInput: `images` names an unknown role, or a step does not mount the claim that its section names.
    """
    unknown = sorted(set(images or {}) - set(ROLES))
    if unknown:
        raise BadInput(f"image of unknown role {', '.join(unknown)} (roles: {', '.join(ROLES)})")
    _require_claims(profile)
    out.parent.mkdir(parents=True, exist_ok=True)
    staging = out.with_name(f".staging-{out.name}")
    compiler.Compiler().compile(_traced(source, profile), str(staging))
    documents = list(yaml.safe_load_all(staging.read_text(encoding="utf-8")))
    name_images(documents[0], images or {})
    staging.write_text(yaml.safe_dump_all(documents, sort_keys=False, allow_unicode=True), encoding="utf-8")
    staging.rename(out)


def _require_claims(profile: Profile) -> None:
    """A claim where a section keeps what steps and other pods share is mounted by those steps."""
    sections = [("train", step, profile.training.folder) for step in ("encode", "train-ranker")]
    for step, section in (("build-samples", profile.samples), ("build-features", profile.features)):
        sections += [("data", step, section.spark_application.folder)] if section.spark_application else []
    for role, step, folder in sections:
        claim = claim_of(folder)
        if claim and claim not in profile.resources.of(cast(RoleName, role), step).claims:
            raise BadInput(f"{folder}: step {step} does not mount it: resources.steps.{step}.claims: [{claim}]")


def _traced(source: PipelineKind, profile: Profile) -> Callable[..., dsl.PipelineTask]:
    if source == "pairs":
        return build_scoring_pipeline(profile.resources)
    if source == "features":
        return build_features_pipeline(profile, profile.resources)
    return build_pipeline(source, profile, profile.resources)


def tasks_of(spec: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The tasks of a pipeline's specification that run in a pod: also within conditions, loops and exit handlers."""
    components = spec["components"]
    for dag in [spec["root"]["dag"], *(c["dag"] for c in components.values() if "dag" in c)]:
        for task in dag["tasks"].values():
            if "executorLabel" in components[task["componentRef"]["name"]]:
                yield task


def name_images(spec: dict[str, Any], images: Mapping[str, str]) -> None:
    """Put the roles' images in, tell steps that train theirs, and say which steps are never taken from the cache.

    These are those that look at or change what is outside of the run, and those whose image has no digest: Kubeflow
    keys its cache on an image's name, and behind one without a digest changed code would find old results.
    """
    executors = spec["deploymentSpec"]["executors"]
    for name, executor in executors.items():
        container = executor["container"]
        image = images.get(container["image"].removeprefix("archipelago-"), container["image"])
        container["image"] = image
        inputs = spec["components"][f"comp-{name.removeprefix('exec-')}"].get("inputDefinitions", {})
        if "training" in inputs.get("parameters", {}):
            container.setdefault("env", []).append({"name": STEP_IMAGE, "value": image})
    for task in tasks_of(spec):
        step = spec["components"][task["componentRef"]["name"]]["executorLabel"].removeprefix("exec-")
        image = executors[f"exec-{step}"]["container"]["image"]
        if "@sha256:" not in image or step.partition("-")[0] in _OUTSIDE:
            task["cachingOptions"] = {}
