"""The training pipeline, read as a recipe: from logs to a release.

Three sources lead into the same steps: the simulator, a user's own log, or judgments alone (the relevance half).
However a run ends, people are told; where the gate refuses, they are told why, and no release is built.
"""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from kfp import dsl

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

_RUN = dsl.PIPELINE_JOB_NAME_PLACEHOLDER
_STEPS = "relevance, entire-space samples, features, ranking, drift, gate, export."


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
    return _simulated_pipeline(profile, resources) if source == "simulator" else _logged_pipeline(profile, resources)


def _simulated_pipeline(profile: Profile, resources: ResourcesConfig | None) -> Callable[..., dsl.PipelineTask]:
    @dsl.pipeline(name="archipelago-simulated-search", description=f"From a simulated log to a release: {_STEPS}")
    def search(
        as_of: str,
        marketplace_config: str = profile.marketplace.model_dump_json(),
        relevance_config: str = profile.relevance.model_dump_json(),
        samples_config: str = profile.samples.model_dump_json(),
        features_config: str = profile.features.model_dump_json(),
        ranking_config: str = profile.ranking.model_dump_json(),
        monitoring_config: str = profile.monitoring.model_dump_json(),
        gate_config: str = profile.gate.model_dump_json(),
        release_config: str = profile.release.model_dump_json(),
    ) -> None:
        """A simulated marketplace's search.

        Args:
            as_of: ISO 8601 instant at which the log ends.
            marketplace_config: the profile's section marketplace, as JSON; so are the others below.
            relevance_config: experts, mixture, training.
            samples_config: how entire-space samples are made.
            features_config: feature tables.
            ranking_config: rankers.
            monitoring_config: drift.
            gate_config: floors that a release must reach.
            release_config: export and serving.
        """
        with _people_are_told():
            log = marketplace.simulate(config=marketplace_config, as_of=as_of).outputs["log"]
            _search(
                log,
                as_of,
                relevance_config,
                samples_config,
                features_config,
                ranking_config,
                monitoring_config,
                gate_config,
                release_config,
            )
        if resources:
            apply_all(resources)

    return search


def _logged_pipeline(profile: Profile, resources: ResourcesConfig | None) -> Callable[..., dsl.PipelineTask]:
    @dsl.pipeline(name="archipelago-logged-search", description=f"From a log to a release: {_STEPS}")
    def search(
        as_of: str,
        data: str,
        judgments: str = "",
        markets: str = _markets(profile),
        relevance_config: str = profile.relevance.model_dump_json(),
        samples_config: str = profile.samples.model_dump_json(),
        features_config: str = profile.features.model_dump_json(),
        ranking_config: str = profile.ranking.model_dump_json(),
        monitoring_config: str = profile.monitoring.model_dump_json(),
        gate_config: str = profile.gate.model_dump_json(),
        release_config: str = profile.release.model_dump_json(),
    ) -> None:
        """A marketplace's search, from its own log.

        Args:
            as_of: ISO 8601 instant at which the log ends.
            data: folder of the six tables, at s3://, gs://, pvc://claim/path, file:// or a path.
            judgments: the judgments' file, where it lies elsewhere.
            markets: the log's markets, a JSON list; their order sets the codes that models learn.
            relevance_config: experts, mixture, training: the profile's section, as JSON; so are the others below.
            samples_config: how entire-space samples are made.
            features_config: feature tables.
            ranking_config: rankers.
            monitoring_config: drift.
            gate_config: floors that a release must reach.
            release_config: export and serving.
        """
        with _people_are_told():
            log = _load(data, judgments, markets, as_of)
            _search(
                log,
                as_of,
                relevance_config,
                samples_config,
                features_config,
                ranking_config,
                monitoring_config,
                gate_config,
                release_config,
            )
        if resources:
            apply_all(resources)

    return search


def _people_are_told() -> dsl.ExitHandler:
    """Around the steps of a run: tells how it ended, whatever happened."""
    return dsl.ExitHandler(release.notify_end(run=_RUN), name="run")


def _load(data: Any, judgments: Any, markets: Any, as_of: Any) -> Any:
    """The log of a user's files; it is cached under their version, which each run looks up anew."""
    version = marketplace.find_data(data=data, judgments=judgments).output
    return marketplace.load(data=data, judgments=judgments, markets=markets, as_of=as_of, version=version).outputs[
        "log"
    ]


def _search(
    log: Any,
    as_of: Any,
    relevance_config: Any,
    samples_config: Any,
    features_config: Any,
    ranking_config: Any,
    monitoring_config: Any,
    gate_config: Any,
    release_config: Any,
) -> None:
    """The steps from a log to a search's release."""
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
    gate = release.gate(relevance_model=half.relevance_model, ranker=ranker, drift=drift, config=gate_config)
    _release(
        gate,
        log=log,
        **half._asdict(),
        samples=es3,
        features=tables,
        ranker=ranker,
        drift=drift,
        config=release_config,
        as_of=as_of,
    )


def _release(gate: Any, **inputs: Any) -> None:
    """The steps after the gate: a release where it passes, its reasons to people where it refuses."""
    verdict = gate.outputs["verdict"]
    with dsl.If(gate.outputs["Output"] == True, name="passed"):  # noqa: E712  # KFP's channel, compared when the pipeline runs
        release.build_release(verdict=verdict, **inputs)
    with dsl.Else(name="refused"):
        release.notify_refusal(run=_RUN, verdict=verdict)


def _relevance_pipeline(profile: Profile, resources: ResourcesConfig | None) -> Callable[..., dsl.PipelineTask]:
    @dsl.pipeline(
        name="archipelago-relevance",
        description="From judgments to a relevance-only release: experts, router, fusion, drift, gate, export.",
    )
    def relevance_half(
        as_of: str,
        judgments: str,
        markets: str = _markets(profile),
        relevance_config: str = profile.relevance.model_dump_json(),
        monitoring_config: str = profile.monitoring.model_dump_json(),
        gate_config: str = profile.gate.model_dump_json(),
        release_config: str = profile.release.model_dump_json(),
    ) -> None:
        """Relevance alone.

        Args:
            as_of: ISO 8601 instant that counts as now.
            judgments: the judgments' file, at s3://, gs://, pvc://claim/path, file:// or a path.
            markets: their markets, a JSON list; their order sets the codes that models learn.
            relevance_config: experts, mixture, training: the profile's section, as JSON; so are the others below.
            monitoring_config: drift.
            gate_config: floors that a release must reach.
            release_config: export and serving.
        """
        with _people_are_told():
            log = _load("", judgments, markets, as_of)
            half = _relevance_half(log, relevance_config)
            drift = monitoring.measure_drift(log=log, encodings=half.encodings, config=monitoring_config).outputs[
                "drift"
            ]
            gate = release.gate(relevance_model=half.relevance_model, drift=drift, config=gate_config)
            _release(gate, log=log, **half._asdict(), drift=drift, config=release_config, as_of=as_of)
        if resources:
            apply_all(resources)

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
