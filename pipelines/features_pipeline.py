"""The features pipeline: fresh features for releases that are served, between two trainings."""

from collections.abc import Callable
from typing import Any

from kfp import dsl

from components.features import component as features
from components.relevance import component as relevance
from pipelines.pods import apply_all
from pipelines.profile import Profile
from pipelines.resources import ResourcesConfig
from pipelines.training_pipeline import load_log, people_are_told


def build_features_pipeline(
    profile: Profile, resources: ResourcesConfig | None = None
) -> Callable[..., dsl.PipelineTask]:
    """The KFP pipeline, made to recur: each run writes to the store what the run before could not know.

    Args:
        profile: default parameters; its section features must be the one that the releases were trained with.
        resources: what steps ask of a cluster; None where they run on this machine.
    """
    markets_by_default = list(profile.markets)

    @dsl.pipeline(
        name="archipelago-features",
        description="From a log to fresh features of served releases: load, feature tables, online store.",
    )
    def fresh_features(
        data: str,
        scores: str,
        releases: list[str],
        as_of: str = "",
        markets: list[str] = markets_by_default,
        load_config: dict[str, Any] = profile.load.structure,
        features_config: dict[str, Any] = profile.features.structure,
    ) -> None:
        """Fresh features.

        Args:
            data: folder of the six tables, at s3://, gs://, pvc://claim/path, file:// or a path.
            scores: folder of relevance scores: the artifact of a training run's step score-samples.
            releases: folders of the releases that are served now, such as the current one and a canary.
            as_of: ISO 8601 instant that counts as now: later rows are an error. Empty: when the run was scheduled.
            markets: the log's markets, in the order that the releases know.
            load_config: the profile's section load: how many rows may contradict others.
            features_config: the profile's section features, as the releases were trained with.
        """
        with people_are_told():
            loaded = load_log(data, "", markets, as_of, load_config, on_cluster=resources is not None)
            found = relevance.find_scores(location=scores).outputs["scores"]
            tables = features.build_features(
                log=loaded.log, scores=found, config=features_config, as_of=loaded.as_of
            ).outputs["features"]
            with dsl.ParallelFor(items=releases, name="releases") as release:
                features.materialise_features(features=tables, release=release)
        if resources:
            apply_all(resources)

    return fresh_features
