"""What a person chooses for a run, named once for the command line and the pipeline; imports nothing slow."""

from collections.abc import Sequence
from typing import Any, Literal, get_args

from components.contracts.errors import BadInput

# Where the log comes from.
Source = Literal["simulator", "log", "judgments"]
# What is compiled for a cluster: the training pipeline of a source, batch scoring of pairs, or fresh features.
PipelineKind = Literal["simulator", "log", "judgments", "pairs", "features"]
# Where steps run: in this environment, or in their images.
Runner = Literal["subprocess", "docker"]
# Images, one a role; a step runs in its role's.
RoleName = Literal["data", "train", "monitor", "serve"]
ROLES: tuple[RoleName, ...] = get_args(RoleName)


def source_of(data: object | None, judgments: object | None) -> Source:
    """The source that a person's options choose: neither named, the simulator."""
    if data is not None:
        return "log"
    return "simulator" if judgments is None else "judgments"


def images_by_role(options: Sequence[str]) -> dict[str, str]:
    """ROLE=IMAGE options as a mapping; BadInput where one is no such pair."""
    return _pairs(options, "--image", "ROLE=IMAGE")


def values_by_name(options: Sequence[str]) -> dict[str, Any]:
    """NAME=VALUE options as a mapping, values read as YAML; BadInput where one is no such pair."""
    import yaml

    pairs = _pairs(options, "--parameter", "NAME=VALUE")
    try:
        return {name: yaml.safe_load(value) for name, value in pairs.items()}
    except yaml.YAMLError as error:
        raise BadInput(f"--parameter {', '.join(options)}: a value is no YAML") from error


def _pairs(options: Sequence[str], option: str, form: str) -> dict[str, str]:
    pairs = [entry.partition("=") for entry in options]
    if any(not name or not value for name, _, value in pairs):
        raise BadInput(f"{option} {', '.join(options)}: expected {form}")
    return {name: value for name, _, value in pairs}
