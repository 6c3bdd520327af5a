"""KFP components of the release stage."""

from typing import Any, NamedTuple

from kfp import dsl
from kfp.dsl import HTML, Dataset, Input, Markdown, Metrics, Model, Output, PipelineTaskFinalStatus


@dsl.component(base_image="archipelago-train", install_kfp_package=False)
def gate(
    relevance_model: Input[Model],
    drift: Input[Dataset],
    config: dict[str, Any],
    verdict: Output[Dataset],
    report: Output[HTML],
    summary: Output[Markdown],
    ranker: Input[Model] = None,
    champion: str = "",
) -> NamedTuple("Judged", [("passed", bool)]):  # type: ignore[valid-type]  # KFP reads it
    """Judge the models and the data; what comes out says whether a release may be built.

    Args:
        relevance_model: router and fusion, with their figures.
        drift: the verdict on the data.
        config: the profile's section gate.
        ranker: the ranker, with its figures; none in a run of the relevance half.
        champion: where the release lies that is served; its figures are compared. Empty: none is.

    Returns:
        verdict: every check, with its figure, its bound and why.
        report: the same as a page.
        summary: the verdict, and what the run's figures show.
        passed: whether a release may be built.
    """
    import shutil
    from pathlib import Path

    from components.contracts.tools.manifest import facts
    from components.release.gate import PAGE, judge
    from components.release.gate_config import GateConfig
    from components.release.summary import describe

    models = (Path(relevance_model.path), Path(ranker.path) if ranker else None)
    content = judge(*models, Path(drift.path), GateConfig.of_structure(config), Path(verdict.path), champion)
    shutil.copy(Path(verdict.path) / PAGE, report.path)
    Path(summary.path).write_text(describe(Path(verdict.path), *models), encoding="utf-8")
    verdict.metadata.update(facts(Path(verdict.path)))
    return (content["passed"],)


@dsl.component(base_image="archipelago-serve", install_kfp_package=False)
def find_champion(champion: str, service: str) -> str:
    """Tell where the release lies that is served; the gate compares with it.

    Args:
        champion: where a person said that it lies; empty where nobody did.
        service: the InferenceService that the new release is for, as namespace/name; empty where there is none.

    Returns:
        Output: its folder; empty where nothing is served.
    """
    from components.release.publish import place_of_served

    return champion or (place_of_served(service) if service else "")


@dsl.component(base_image="archipelago-train", install_kfp_package=False)
def build_release(
    log: Input[Dataset],
    experts: Input[Model],
    encodings: Input[Dataset],
    relevance_model: Input[Model],
    scores: Input[Dataset],
    drift: Input[Dataset],
    verdict: Input[Dataset],
    config: dict[str, Any],
    as_of: str,
    release: Output[Model],
    metrics: Output[Metrics],
    card: Output[Markdown],
    samples: Input[Dataset] = None,
    features: Input[Dataset] = None,
    ranker: Input[Model] = None,
) -> None:
    """Build a release, unless the gate refused it: for search, or for relevance alone without a ranker.

    Args:
        log: the log, for its catalogue.
        experts: the language models.
        encodings: every pair as they see it.
        relevance_model: router and fusion.
        scores: relevance of every encoded pair.
        drift: the verdict on the data, for the release's reports.
        verdict: the gate's.
        config: the profile's section release.
        as_of: ISO 8601 instant at which the log's windows end.
        samples: what the ranker learned from.
        features: feature tables.
        ranker: the ranker.

    Returns:
        release: a folder that serves, named by its digest.
        metrics: largest difference of each exported model from its original.
        card: the model card.
    """
    from datetime import datetime
    from pathlib import Path

    from components.contracts.tools.manifest import facts, read_manifest
    from components.release.build import build_release_stage
    from components.release.config import ReleaseConfig
    from components.release.inputs import RankingInputs, RelevanceInputs
    from components.release.summary import card_text

    judged = (log, experts, encodings, relevance_model, scores, drift, verdict)
    relevance = RelevanceInputs(*(Path(artifact.path) for artifact in judged))
    ranking = RankingInputs(*(Path(x.path) for x in (samples, features, ranker))) if ranker else None
    settings = ReleaseConfig.of_structure(config)
    built = build_release_stage(relevance, ranking, settings, datetime.fromisoformat(as_of), Path(release.path))
    for parity in read_manifest(built)["metrics"]["parity"]:
        metrics.log_metric(f"parity error {parity['model']}", parity["max_error"])
    Path(card.path).write_text(card_text(built), encoding="utf-8")
    release.metadata.update(facts(built))


@dsl.component(base_image="archipelago-serve", install_kfp_package=False)
def register_release(release: Input[Model], registry: str, run: str) -> None:
    """Register the release where people look for models, with what it was made of.

    Args:
        release: the release, as build-release left it.
        registry: address of a Model Registry.
        run: id of the run, noted beside it.
    """
    from pathlib import Path

    from components.contracts.tools.manifest import read_manifest
    from components.release.registry import open_registry

    name = str(read_manifest(Path(release.path))["release"])
    open_registry(registry).register(Path(release.path) / name, f"{release.uri}/{name}", run)


@dsl.component(base_image="archipelago-serve", install_kfp_package=False)
def deploy_release(release: Input[Model], service: str, run: str) -> str:
    """Copy the release to the store that a service reads, serve it, and wait until the service answers with it.

    Args:
        release: the release, as build-release left it.
        service: the InferenceService, as namespace/name.
        run: id of the run, noted at the service.

    Returns:
        Output: name of the release that answers.
    """
    from pathlib import Path

    from components.release.publish import publish_and_deploy

    return publish_and_deploy(Path(release.path), service, run)


@dsl.component(base_image="archipelago-data", install_kfp_package=False)
def notify_refusal(run: str, verdict: Input[Dataset]) -> None:
    """Tell people that the gate refused the release, and why.

    Args:
        run: name of the run.
        verdict: the gate's.
    """
    from pathlib import Path

    from components.release.notify import tell_refusal

    tell_refusal(run, Path(verdict.path))


@dsl.component(base_image="archipelago-data", install_kfp_package=False)
def notify_end(run: str, status: PipelineTaskFinalStatus) -> None:
    """Tell people how the run ended.

    Args:
        run: its name.
        status: what Kubeflow Pipelines says of it.
    """
    from components.release.notify import tell_end

    tell_end(run, status.state, status.error_message)
