"""KFP components of the release stage."""

from typing import Any

from kfp import dsl
from kfp.dsl import HTML, Dataset, Input, Metrics, Model, Output, PipelineTaskFinalStatus


@dsl.component(base_image="archipelago-train", install_kfp_package=False)
def gate(
    relevance_model: Input[Model],
    drift: Input[Dataset],
    config: dict[str, Any],
    verdict: Output[Dataset],
    report: Output[HTML],
    ranker: Input[Model] = None,
) -> bool:
    """Judge the models and the data; what comes out says whether a release may be built."""
    import shutil
    from pathlib import Path

    from components.release.gate import PAGE, judge
    from components.release.gate_config import GateConfig

    models = (Path(relevance_model.path), Path(ranker.path) if ranker else None)
    content = judge(*models, Path(drift.path), GateConfig.model_validate(config), Path(verdict.path))
    shutil.copy(Path(verdict.path) / PAGE, report.path)
    return content["passed"]


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
    samples: Input[Dataset] = None,
    features: Input[Dataset] = None,
    ranker: Input[Model] = None,
) -> None:
    """Build a release, unless the gate refused it: for search, or for relevance alone without a ranker."""
    from datetime import datetime
    from pathlib import Path

    from components.release.build import build_release_stage
    from components.release.config import ReleaseConfig
    from components.release.inputs import RankingInputs, RelevanceInputs

    judged = (log, experts, encodings, relevance_model, scores, drift, verdict)
    relevance = RelevanceInputs(*(Path(artifact.path) for artifact in judged))
    ranking = RankingInputs(*(Path(x.path) for x in (samples, features, ranker))) if ranker else None
    settings = ReleaseConfig.model_validate(config)
    facts = build_release_stage(relevance, ranking, settings, datetime.fromisoformat(as_of), Path(release.path))
    for parity in facts["metrics"]["parity"]:
        metrics.log_metric(f"parity error {parity['model']}", parity["max_error"])


@dsl.component(base_image="archipelago-serve", install_kfp_package=False)
def deploy_release(release: Input[Model], service: str, run: str) -> str:
    """Copy the release to the store that a service reads, serve it, and wait until the service answers with it.

    Args:
        release: the release, as build-release left it.
        service: the InferenceService, as namespace/name.
        run: id of the run, noted at the service.
    """
    from pathlib import Path

    from components.release.publish import publish_and_deploy

    return publish_and_deploy(Path(release.path), service, run)


@dsl.component(base_image="archipelago-data", install_kfp_package=False)
def notify_refusal(run: str, verdict: Input[Dataset]) -> None:
    """Tell people that the gate refused the release, and why."""
    from pathlib import Path

    from components.release.notify import tell_refusal

    tell_refusal(run, Path(verdict.path))


@dsl.component(base_image="archipelago-data", install_kfp_package=False)
def notify_end(run: str, status: PipelineTaskFinalStatus) -> None:
    """Tell people how the run ended."""
    from components.release.notify import tell_end

    tell_end(run, status.state, status.error_message)
