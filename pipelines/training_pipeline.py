"""The training pipeline, read as a recipe: from logs to a release.

Three sources lead into the same steps: the simulator, a user's own log, or judgments alone (the relevance half).
However a run ends, people are told; where the gate refuses, they are told why, and no release is built.
"""

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

    Every section travels as a structure, which the Kubeflow UI shows and a person may change there.

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
        as_of: str = profile.simulated_as_of.isoformat(),
        marketplace_config: dict[str, Any] = profile.marketplace.structure,
        relevance_config: dict[str, Any] = profile.relevance.structure,
        samples_config: dict[str, Any] = profile.samples.structure,
        features_config: dict[str, Any] = profile.features.structure,
        ranking_config: dict[str, Any] = profile.ranking.structure,
        monitoring_config: dict[str, Any] = profile.monitoring.structure,
        gate_config: dict[str, Any] = profile.gate.structure,
        release_config: dict[str, Any] = profile.release.structure,
        training_config: dict[str, Any] = profile.training.structure,
        champion: str = "",
        deploy_to: str = "",
        registry: str = "",
    ) -> None:
        """A simulated marketplace's search.

        Args:
            as_of: ISO 8601 instant at which the log ends.
            marketplace_config: the profile's section marketplace: shoppers, catalogue, days.
            relevance_config: the section relevance: experts, mixture, training.
            samples_config: the section samples: how entire-space samples are made.
            features_config: the section features: feature tables.
            ranking_config: the section ranking: rankers.
            monitoring_config: the section monitoring: drift.
            gate_config: the section gate: bounds that a release must keep.
            release_config: the section release: export and serving.
            training_config: the section training: by how many processes models are trained.
            champion: the folder of the release that is served: the gate compares with it. Empty: what deploy_to serves.
            deploy_to: InferenceService that shall serve the release, as namespace/name. Empty: none does.
            registry: address of a Model Registry that shall know the release. Empty: none does.
        """
        with people_are_told():
            log = marketplace.simulate(config=marketplace_config, as_of=as_of).outputs["log"]
            served = _served(champion, deploy_to, resources)
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
                training_config,
                served,
                deploy_to,
                registry,
            )
        if resources:
            apply_all(resources)

    return search


def _logged_pipeline(profile: Profile, resources: ResourcesConfig | None) -> Callable[..., dsl.PipelineTask]:
    markets_by_default = list(profile.markets)

    @dsl.pipeline(name="archipelago-logged-search", description=f"From a log to a release: {_STEPS}")
    def search(
        data: str,
        judgments: str = "",
        as_of: str = "",
        markets: list[str] = markets_by_default,
        load_config: dict[str, Any] = profile.load.structure,
        relevance_config: dict[str, Any] = profile.relevance.structure,
        samples_config: dict[str, Any] = profile.samples.structure,
        features_config: dict[str, Any] = profile.features.structure,
        ranking_config: dict[str, Any] = profile.ranking.structure,
        monitoring_config: dict[str, Any] = profile.monitoring.structure,
        gate_config: dict[str, Any] = profile.gate.structure,
        release_config: dict[str, Any] = profile.release.structure,
        training_config: dict[str, Any] = profile.training.structure,
        champion: str = "",
        deploy_to: str = "",
        registry: str = "",
    ) -> None:
        """A marketplace's search, from its own log.

        Args:
            data: folder of the six tables, at s3://, gs://, pvc://claim/path, file:// or a path.
            judgments: the judgments' file, where it lies elsewhere.
            as_of: ISO 8601 instant that counts as now: later rows are an error. Empty: when the run was scheduled.
            markets: the log's markets; their order sets the codes that models learn.
            load_config: the profile's section load: how many rows may contradict others.
            relevance_config: the profile's section relevance: experts, mixture, training.
            samples_config: the section samples: how entire-space samples are made.
            features_config: the section features: feature tables.
            ranking_config: the section ranking: rankers.
            monitoring_config: the section monitoring: drift.
            gate_config: the section gate: bounds that a release must keep.
            release_config: the section release: export and serving.
            training_config: the section training: by how many processes models are trained.
            champion: the folder of the release that is served: the gate compares with it. Empty: what deploy_to serves.
            deploy_to: InferenceService that shall serve the release, as namespace/name. Empty: none does.
            registry: address of a Model Registry that shall know the release. Empty: none does.
        """
        with people_are_told():
            loaded = load_log(data, judgments, markets, as_of, load_config, on_cluster=resources is not None)
            served = _served(champion, deploy_to, resources)
            _search(
                loaded.log,
                loaded.as_of,
                relevance_config,
                samples_config,
                features_config,
                ranking_config,
                monitoring_config,
                gate_config,
                release_config,
                training_config,
                served,
                deploy_to,
                registry,
            )
        if resources:
            apply_all(resources)

    return search


def people_are_told() -> dsl.ExitHandler:
    """Around the steps of a run: tells how it ended, whatever happened."""
    return dsl.ExitHandler(release.notify_end(run=_RUN), name="run")


class Loaded(NamedTuple):
    """KFP's channels of a user's log, and of the instant at which its windows end."""

    log: Any
    as_of: Any


def load_log(data: Any, judgments: Any, markets: Any, as_of: Any, config: Any, on_cluster: bool) -> Loaded:
    """The log of a user's files; it is cached under their version, which each run looks up anew."""
    # kfp.local knows no schedule, and fails at this variable.
    scheduled = dsl.PIPELINE_JOB_SCHEDULE_TIME_UTC_PLACEHOLDER if on_cluster else ""
    found = marketplace.find_data(data=data, judgments=judgments, as_of=as_of, scheduled=scheduled).outputs
    where = {"data": data, "judgments": judgments}
    known = {"as_of": found["as_of"], "version": found["version"]}
    loaded = marketplace.load(**where, **known, markets=markets, config=config).outputs
    return Loaded(loaded["log"], loaded["as_of"])


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
    training_config: Any,
    champion: Any,
    deploy_to: Any,
    registry: Any,
) -> None:
    """The steps from a log to a search's release."""
    half = _relevance_half(log, relevance_config, training_config)

    es3 = samples.build_samples(
        log=log, scores=half.scores, encodings=half.encodings, config=samples_config, as_of=as_of
    ).outputs["samples"]
    scores = relevance.score_samples(
        log=log,
        samples=es3,
        scores=half.scores,
        experts=half.experts,
        model=half.relevance_model,
        config=relevance_config,
    ).outputs["completed"]
    tables = features.build_features(log=log, scores=scores, config=features_config, as_of=as_of).outputs["features"]
    training_set = features.join_features(features=tables, log=log, samples=es3, config=features_config).outputs[
        "training_set"
    ]
    ranker = ranking.train_ranker(
        training_set=training_set, log=log, config=ranking_config, training=training_config
    ).outputs["model"]

    drift = monitoring.measure_drift(
        log=log, encodings=half.encodings, training_set=training_set, ranker=ranker, config=monitoring_config
    ).outputs["drift"]
    gate = release.gate(
        relevance_model=half.relevance_model, ranker=ranker, drift=drift, config=gate_config, champion=champion
    )
    _release(
        gate,
        deploy_to,
        registry,
        log=log,
        **half._replace(scores=scores)._asdict(),
        samples=es3,
        features=tables,
        ranker=ranker,
        drift=drift,
        config=release_config,
        as_of=as_of,
    )


def _served(champion: Any, deploy_to: Any, resources: ResourcesConfig | None) -> Any:
    """Where the release lies that is served; looked up in each run on a cluster, where there is a service to ask."""
    return release.find_champion(champion=champion, service=deploy_to).output if resources else champion


def _release(gate: Any, deploy_to: Any, registry: Any, **inputs: Any) -> None:
    """The steps after the gate: a release where it passes, its reasons to people where it refuses."""
    verdict = gate.outputs["verdict"]
    # Without an Else, kfp.local would take a condition on a named output for false.
    with dsl.If(gate.outputs["passed"] == True, name="passed"):  # noqa: E712  # KFP's channel, read in a run
        built = release.build_release(verdict=verdict, **inputs).outputs["release"]
        with dsl.If(registry != "", name="register"):
            release.register_release(release=built, registry=registry, run=dsl.PIPELINE_JOB_ID_PLACEHOLDER)
        with dsl.If(deploy_to != "", name="deploy"):
            release.deploy_release(release=built, service=deploy_to, run=dsl.PIPELINE_JOB_ID_PLACEHOLDER)
    with dsl.Else(name="refused"):
        release.notify_refusal(run=_RUN, verdict=verdict)


def _relevance_pipeline(profile: Profile, resources: ResourcesConfig | None) -> Callable[..., dsl.PipelineTask]:
    markets_by_default = list(profile.markets)

    @dsl.pipeline(
        name="archipelago-relevance",
        description="From judgments to a relevance-only release: experts, router, fusion, drift, gate, export.",
    )
    def relevance_half(
        judgments: str,
        as_of: str = "",
        markets: list[str] = markets_by_default,
        load_config: dict[str, Any] = profile.load.structure,
        relevance_config: dict[str, Any] = profile.relevance.structure,
        monitoring_config: dict[str, Any] = profile.monitoring.structure,
        gate_config: dict[str, Any] = profile.gate.structure,
        release_config: dict[str, Any] = profile.release.structure,
        training_config: dict[str, Any] = profile.training.structure,
        champion: str = "",
        deploy_to: str = "",
        registry: str = "",
    ) -> None:
        """Relevance alone.

        Args:
            judgments: the judgments' file, at s3://, gs://, pvc://claim/path, file:// or a path.
            as_of: ISO 8601 instant that counts as now. Empty: when the run was scheduled.
            markets: their markets; their order sets the codes that models learn.
            load_config: the profile's section load.
            relevance_config: the profile's section relevance: experts, mixture, training.
            monitoring_config: the section monitoring: drift.
            gate_config: the section gate: bounds that a release must keep.
            release_config: the section release: export and serving.
            training_config: the section training: by how many processes models are trained.
            champion: the folder of the release that is served: the gate compares with it. Empty: what deploy_to serves.
            deploy_to: InferenceService that shall serve the release, as namespace/name. Empty: none does.
            registry: address of a Model Registry that shall know the release. Empty: none does.
        """
        with people_are_told():
            log, now = load_log("", judgments, markets, as_of, load_config, on_cluster=resources is not None)
            half = _relevance_half(log, relevance_config, training_config)
            drift = monitoring.measure_drift(log=log, encodings=half.encodings, config=monitoring_config).outputs[
                "drift"
            ]
            gate = release.gate(
                relevance_model=half.relevance_model,
                drift=drift,
                config=gate_config,
                champion=_served(champion, deploy_to, resources),
            )
            _release(
                gate, deploy_to, registry, log=log, **half._asdict(), drift=drift, config=release_config, as_of=now
            )
        if resources:
            apply_all(resources)

    return relevance_half


class _RelevanceHalf(NamedTuple):
    """KFP's channels of the relevance half's outputs, named as `build_release` takes them."""

    encodings: Any
    experts: Any
    relevance_model: Any
    scores: Any


def _relevance_half(log: Any, config: Any, training: Any) -> _RelevanceHalf:
    """The steps that every source shares: encode, train, score."""
    encode = relevance.encode(log=log, config=config, training=training)
    encodings, experts = encode.outputs["encodings"], encode.outputs["experts"]
    model = relevance.train_relevance(log=log, encodings=encodings, experts=experts, config=config).outputs["model"]
    scores = relevance.score_relevance(encodings=encodings, model=model).outputs["scores"]
    return _RelevanceHalf(encodings, experts, model, scores)
