"""The training pipeline, read as a recipe: from logs to a release.

Three sources lead into the same steps: the simulator, a user's own log, or judgments alone (the relevance half).
"""

import json
from collections.abc import Callable
from typing import Literal, NamedTuple

from kfp import dsl
from kfp.dsl import Dataset, Model

from components.features import component as features
from components.marketplace import component as marketplace
from components.monitoring import component as monitoring
from components.ranking import component as ranking
from components.release import component as release
from components.relevance import component as relevance
from components.samples import component as samples
from pipelines.profile import Profile

Source = Literal["simulator", "log", "judgments"]


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


def build_pipeline(source: Source, profile: Profile) -> Callable[..., dsl.PipelineTask]:
    """The KFP pipeline of a source, with the profile's sections as its default parameters.

    Every section travels as JSON text, so that a run in the Kubeflow UI shows and may change it.
    """
    if source == "judgments":
        return _relevance_pipeline(profile)
    return _search_pipeline(source, profile)


def _search_pipeline(source: Source, profile: Profile) -> Callable[..., dsl.PipelineTask]:
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

        encode = relevance.encode(log=log, config=relevance_config)
        encodings, experts = encode.outputs["encodings"], encode.outputs["experts"]
        relevance_train = relevance.train_relevance(
            log=log, encodings=encodings, experts=experts, config=relevance_config
        )
        relevance_model = relevance_train.outputs["model"]
        scores = relevance.score_relevance(encodings=encodings, model=relevance_model).outputs["scores"]

        es3 = samples.build_samples(log=log, scores=scores, encodings=encodings, config=samples_config, as_of=as_of)
        tables = features.build_features(log=log, scores=scores, config=features_config, as_of=as_of).outputs[
            "features"
        ]
        training_set = features.join_features(features=tables, log=log, samples=es3.outputs["samples"]).outputs[
            "training_set"
        ]
        ranker = ranking.train_ranker(training_set=training_set, log=log, config=ranking_config).outputs["model"]

        drift = monitoring.search_drift(
            training_set=training_set, encodings=encodings, ranker=ranker, config=monitoring_config
        ).outputs["drift"]
        verdict = release.gate(relevance_model=relevance_model, ranker=ranker, drift=drift, config=gate_config).outputs[
            "verdict"
        ]
        released = release.build_release(
            log=log,
            experts=experts,
            encodings=encodings,
            relevance_model=relevance_model,
            scores=scores,
            samples=es3.outputs["samples"],
            features=tables,
            ranker=ranker,
            drift=drift,
            verdict=verdict,
            config=release_config,
            as_of=as_of,
        ).outputs["release"]
        return SearchOutputs(
            log, relevance_model, es3.outputs["samples"], tables, ranker, drift, verdict, released
        )  # KFP channels stand for artifacts while a pipeline is traced

    return search


def _relevance_pipeline(profile: Profile) -> Callable[..., dsl.PipelineTask]:
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
        encode = relevance.encode(log=log, config=relevance_config)
        encodings, experts = encode.outputs["encodings"], encode.outputs["experts"]
        model = relevance.train_relevance(
            log=log, encodings=encodings, experts=experts, config=relevance_config
        ).outputs["model"]
        scores = relevance.score_relevance(encodings=encodings, model=model).outputs["scores"]
        drift = monitoring.relevance_drift(
            log=log, encodings=encodings, relevance_model=model, config=monitoring_config
        ).outputs["drift"]
        verdict = release.gate_relevance(relevance_model=model, drift=drift, config=gate_config).outputs["verdict"]
        released = release.build_relevance_release(
            log=log,
            experts=experts,
            encodings=encodings,
            relevance_model=model,
            scores=scores,
            drift=drift,
            verdict=verdict,
            config=release_config,
            as_of=as_of,
        ).outputs["release"]
        return RelevanceOutputs(log, model, drift, verdict, released)

    return relevance_half


def _markets(profile: Profile) -> str:
    return json.dumps(profile.markets)
