"""Profiles: one YAML file that configures every stage.

A profile states what differs from the stages' defaults, which are the laptop's. It may extend another by name, which
is how ingestion names a data set's markets without repeating the rest.
"""

from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from components.contracts.config import StageConfig, explained
from components.contracts.errors import BadInput
from components.contracts.markets import MARKETS
from components.contracts.training.config import TrainingConfig
from components.features.config import FeaturesConfig
from components.marketplace.config import MarketplaceConfig
from components.marketplace.logs.config import LoadConfig
from components.monitoring.config import MonitoringConfig
from components.ranking.config import RankingConfig
from components.release.config import PACKED_PRECISIONS, ReleaseConfig
from components.release.gate_config import GateConfig
from components.relevance.config import RelevanceConfig
from components.samples.config import SamplesConfig
from pipelines.resources import ResourcesConfig

_BUILT_IN = resources.files("pipelines") / "profiles"


class Profile(StageConfig):
    """The configuration of a whole run: the markets, and one section per stage.

    `simulated_as_of` is the instant at which a simulated log ends, unless `--as-of` says otherwise.
    """

    name: str
    markets: tuple[str, ...] = Field(default=MARKETS, min_length=1)
    simulated_as_of: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    marketplace: MarketplaceConfig = MarketplaceConfig()
    load: LoadConfig = LoadConfig()
    relevance: RelevanceConfig = RelevanceConfig()
    samples: SamplesConfig = SamplesConfig()
    features: FeaturesConfig = FeaturesConfig()
    ranking: RankingConfig = RankingConfig()
    monitoring: MonitoringConfig = MonitoringConfig()
    gate: GateConfig = GateConfig()
    release: ReleaseConfig = ReleaseConfig()
    training: TrainingConfig = TrainingConfig()
    resources: ResourcesConfig = ResourcesConfig()

    @field_validator("markets", mode="before")
    @classmethod
    def _yaml_has_words_of_its_own(cls, markets: Any) -> Any:
        """NO, ON and Y are truth values in YAML, and 07 is a number."""
        odd = [market for market in markets if not isinstance(market, str)] if isinstance(markets, list) else []
        if odd:
            raise ValueError(f'YAML reads a market as {odd[0]!r}: put it in quotes, as in ["NO", SE]')
        return markets

    @model_validator(mode="before")
    @classmethod
    def _a_gpu_serves_as_pairs_were_scored(cls, content: Any) -> Any:
        """Where a profile says in which type packed experts score, and not in which they serve, it is the same."""
        if isinstance(content, dict):
            scoring, release = content.get("relevance"), content.get("release", {})
            precision = scoring.get("precision") if isinstance(scoring, dict) else None
            if precision in PACKED_PRECISIONS and isinstance(release, dict) and "precision" not in release:
                return content | {"release": release | {"precision": precision}}
        return content


def profile_names() -> list[str]:
    """Names of the profiles that ship with the project."""
    return sorted(path.name.removesuffix(".yaml") for path in _BUILT_IN.iterdir() if path.name.endswith(".yaml"))


def load_profile(name: str) -> Profile:
    """The profile of a built-in name or a YAML file's path.

    Raises:
        BadInput: no such profile, unreadable YAML, an unknown key or a value out of range; names the file and key.
    """
    try:
        profile = Profile.model_validate(_read(name, seen=()))
    except ValidationError as error:
        raise BadInput(f"profile {name}: {explained(error)}") from error
    profile.relevance.require_even_steps(profile.training.processes)
    return profile


def _read(name: str, seen: tuple[str, ...]) -> dict[str, Any]:
    if name in seen:
        raise BadInput(f"profile {name}: extends itself ({' -> '.join((*seen, name))})")
    path = Path(name) if name.endswith((".yaml", ".yml")) else _BUILT_IN / f"{name}.yaml"
    if not path.is_file():
        raise BadInput(f"profile {name}: no such file or built-in profile (built in: {', '.join(profile_names())})")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise BadInput(f"profile {name}: not readable YAML ({error})") from error
    if not isinstance(content, dict):
        raise BadInput(f"profile {name}: expected a mapping at the top")
    base = content.pop("extends", None)
    content.setdefault("name", Path(name).stem)
    return _merge(_read(base, (*seen, name)), content) if base else content


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged
