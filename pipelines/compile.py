"""Compile a pipeline to the YAML that Kubeflow Pipelines takes, with every role mapped to a real image."""

from collections.abc import Mapping
from pathlib import Path

import yaml
from kfp import compiler

from components.contracts.errors import BadInput
from pipelines.choices import ROLES, Source
from pipelines.profile import Profile
from pipelines.training_pipeline import build_pipeline


def compile_pipeline(source: Source, profile: Profile, out: Path, images: Mapping[str, str] | None = None) -> None:
    """Write the compiled pipeline to `out` (.yaml).

    Args:
        source: where the log comes from.
        profile: default parameters of the pipeline.
        out: target file; replaced as a whole.
        images: role ("data", "train", ...) -> image reference, best by digest, since Kubeflow's cache keys on the
            string. Roles left out keep the local name `archipelago-<role>`.

    Raises:
        BadInput: `images` names an unknown role.
    """
    unknown = sorted(set(images or {}) - set(ROLES))
    if unknown:
        raise BadInput(f"image of unknown role {', '.join(unknown)} (roles: {', '.join(ROLES)})")
    out.parent.mkdir(parents=True, exist_ok=True)
    staging = out.with_name(f".staging-{out.name}")
    compiler.Compiler().compile(build_pipeline(source, profile, profile.resources), str(staging))
    if images:
        documents = list(yaml.safe_load_all(staging.read_text(encoding="utf-8")))
        for executor in documents[0]["deploymentSpec"]["executors"].values():
            role = executor["container"]["image"].removeprefix("archipelago-")
            executor["container"]["image"] = images.get(role, executor["container"]["image"])
        staging.write_text(yaml.safe_dump_all(documents, sort_keys=False, allow_unicode=True), encoding="utf-8")
    staging.rename(out)
