"""The training pipeline, read as a recipe: from logs to a release.

Three sources lead into the same steps: the simulator, a user's own log, or judgments alone (the relevance half).
"""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from kfp import dsl
from kfp.dsl import Dataset, Model

from components.features import component as features
from components.marketplace import component as marketplace
from components.monitoring import component as monitoring
from components.ranking import component as ranking
from components.release import component as release
from components.relevance import component as relevance
from components.samples import component as samples
from pipelines.choices import Source
from pipelines.pods import apply_all
from pipelines.profile import Profile
from pipelines.resources import ResourcesConfig


class SearchOutputs(NamedTuple):
    """What a run with the ranking half leaves."""

    log: Dataset
    relevance_model: Model
    samples: Dataset
    features: Dataset
    ranker: Model
    drift: Dataset
    verdict: Dataset
    release: Model


class RelevanceOutputs(NamedTuple):
    """What a run of the relevance half alone leaves."""

    log: Dataset
    relevance_model: Model
    drift: Dataset
    verdict: Dataset
    release: Model


def build_pipeline(
    source: Source, profile: Profile, resources: ResourcesConfig | None = None
) -> Callable[..., dsl.PipelineTask]:
    """The KFP pipeline of a source, with the profile's sections as its default parameters.

    Every section travels as JSON text, so that a run in the Kubeflow UI shows and may change it.

    Args:
        source: where the log comes from.
        profile: default parameters.
        resources: what steps ask of a cluster; None where they run on this machine.

    Raises:
        BadInput: `resources` names a step that no pipeline has.
    """
    if source == "judgments":
        return _relevance_pipeline(profile, resources)
    return _search_pipeline(source, profile, resources)


def _search_pipeline(
    source: Source, profile: Profile, resources: ResourcesConfig | None
) -> Callable[..., dsl.PipelineTask]:
    simulated = source == "simulator"

    @dsl.pipeline(
        name=f"archipelago-{'simulated' if simulated else 'logged'}-search",
        description="From logs to a release: features, relevance, entire-space samples, ranking, drift, gate, export.",
    )
    def search(
        as_of: str,
        data: str = "",
        judgments: str = "",
        markets: str = _markets(profile),
        marketplace_config: str = profile.marketplace.model_dump_json(),
        relevance_config: str = profile.relevance.model_dump_json(),
        samples_config: str = profile.samples.model_dump_json(),
        features_config: str = profile.features.model_dump_json(),
        ranking_config: str = profile.ranking.model_dump_json(),
        monitoring_config: str = profile.monitoring.model_dump_json(),
        gate_config: str = profile.gate.model_dump_json(),
        release_config: str = profile.release.model_dump_json(),
    ) -> SearchOutputs:
        if simulated:
            log = marketplace.simulate(config=marketplace_config, as_of=as_of).outputs["log"]
        else:
            log = marketplace.load(data=data, judgments=judgments, markets=markets, as_of=as_of).outputs["log"]
        half = _relevance_half(log, relevance_config)

        es3 = samples.build_samples(
            log=log, scores=half.scores, encodings=half.encodings, config=samples_config, as_of=as_of
        ).outputs["samples"]
        tables = features.build_features(log=log, scores=half.scores, config=features_config, as_of=as_of).outputs[
            "features"
        ]
        training_set = features.join_features(features=tables, log=log, samples=es3).outputs["training_set"]
        ranker = ranking.train_ranker(training_set=training_set, log=log, config=ranking_config).outputs["model"]

        drift = monitoring.measure_drift(
            log=log, encodings=half.encodings, training_set=training_set, ranker=ranker, config=monitoring_config
        ).outputs["drift"]
        verdict = release.gate(
            relevance_model=half.relevance_model, ranker=ranker, drift=drift, config=gate_config
        ).outputs["verdict"]
        released = release.build_release(
            log=log,
            **half._asdict(),
            samples=es3,
            features=tables,
            ranker=ranker,
            drift=drift,
            verdict=verdict,
            config=release_config,
            as_of=as_of,
        ).outputs["release"]
        if resources:
            apply_all(resources)
        # KFP's channels stand for artifacts while a pipeline is traced.
        return SearchOutputs(log, half.relevance_model, es3, tables, ranker, drift, verdict, released)

    return search


def _relevance_pipeline(profile: Profile, resources: ResourcesConfig | None) -> Callable[..., dsl.PipelineTask]:
    @dsl.pipeline(
        name="archipelago-relevance",
        description="From judgments to a relevance-only release: experts, router, fusion, drift, gate, export.",
    )
    def relevance_half(
        as_of: str,
        judgments: str = "",
        markets: str = _markets(profile),
        relevance_config: str = profile.relevance.model_dump_json(),
        monitoring_config: str = profile.monitoring.model_dump_json(),
        gate_config: str = profile.gate.model_dump_json(),
        release_config: str = profile.release.model_dump_json(),
    ) -> RelevanceOutputs:
        log = marketplace.load(data="", judgments=judgments, markets=markets, as_of=as_of).outputs["log"]
        half = _relevance_half(log, relevance_config)
        drift = monitoring.measure_drift(log=log, encodings=half.encodings, config=monitoring_config).outputs["drift"]
        verdict = release.gate(relevance_model=half.relevance_model, drift=drift, config=gate_config).outputs["verdict"]
        released = release.build_release(
            log=log, **half._asdict(), drift=drift, verdict=verdict, config=release_config, as_of=as_of
        ).outputs["release"]
        if resources:
            apply_all(resources)
        return RelevanceOutputs(log, half.relevance_model, drift, verdict, released)

    return relevance_half


class _RelevanceHalf(NamedTuple):
    """KFP's channels of the relevance half's outputs, named as `build_release` takes them."""

    encodings: Any
    experts: Any
    relevance_model: Any
    scores: Any


def _relevance_half(log: Any, config: str) -> _RelevanceHalf:
    """The steps that every source shares: encode, train, score."""
    encode = relevance.encode(log=log, config=config)
    encodings, experts = encode.outputs["encodings"], encode.outputs["experts"]
    model = relevance.train_relevance(log=log, encodings=encodings, experts=experts, config=config).outputs["model"]
    scores = relevance.score_relevance(encodings=encodings, model=model).outputs["scores"]
    return _RelevanceHalf(encodings, experts, model, scores)


def _markets(profile: Profile) -> str:
    return json.dumps(profile.markets)
