"""KFP components of the release stage."""

from kfp import dsl
from kfp.dsl import HTML, Dataset, Input, Metrics, Model, Output


@dsl.component(base_image="archipelago-train", install_kfp_package=False)
def gate(
    relevance_model: Input[Model],
    ranker: Input[Model],
    drift: Input[Dataset],
    config: str,
    verdict: Output[Dataset],
    report: Output[HTML],
) -> None:
    """Judge both models and the data; a refusal stops the pipeline where the release would be built."""
    import shutil
    from pathlib import Path

    from components.release.gate import PAGE, judge
    from components.release.gate_config import GateConfig

    models = (Path(relevance_model.path), Path(ranker.path))
    judge(*models, Path(drift.path), GateConfig.model_validate_json(config), Path(verdict.path))
    shutil.copy(Path(verdict.path) / PAGE, report.path)


@dsl.component(base_image="archipelago-train", install_kfp_package=False)
def gate_relevance(
    relevance_model: Input[Model],
    drift: Input[Dataset],
    config: str,
    verdict: Output[Dataset],
    report: Output[HTML],
) -> None:
    """Judge the relevance model and the data; a refusal stops the pipeline where the release would be built."""
    import shutil
    from pathlib import Path

    from components.release.gate import PAGE, judge
    from components.release.gate_config import GateConfig

    model, settings = Path(relevance_model.path), GateConfig.model_validate_json(config)
    judge(model, None, Path(drift.path), settings, Path(verdict.path))
    shutil.copy(Path(verdict.path) / PAGE, report.path)


@dsl.component(base_image="archipelago-train", install_kfp_package=False)
def build_release(
    log: Input[Dataset],
    experts: Input[Model],
    encodings: Input[Dataset],
    relevance_model: Input[Model],
    scores: Input[Dataset],
    samples: Input[Dataset],
    features: Input[Dataset],
    ranker: Input[Model],
    drift: Input[Dataset],
    verdict: Input[Dataset],
    config: str,
    as_of: str,
    release: Output[Model],
    metrics: Output[Metrics],
) -> None:
    """Build a search release, unless the gate refused it."""
    from datetime import datetime
    from pathlib import Path

    from components.release.build import RankingInputs, RelevanceInputs, build_release_stage
    from components.release.config import ReleaseConfig

    judged = (log, experts, encodings, relevance_model, scores, drift, verdict)
    relevance = RelevanceInputs(*(Path(artifact.path) for artifact in judged))
    ranking = RankingInputs(*(Path(artifact.path) for artifact in (samples, features, ranker)))
    settings = ReleaseConfig.model_validate_json(config)
    facts = build_release_stage(relevance, ranking, settings, datetime.fromisoformat(as_of), Path(release.path))
    for parity in facts["metrics"]["parity"]:
        metrics.log_metric(f"parity error {parity['model']}", parity["max_error"])


@dsl.component(base_image="archipelago-train", install_kfp_package=False)
def build_relevance_release(
    log: Input[Dataset],
    experts: Input[Model],
    encodings: Input[Dataset],
    relevance_model: Input[Model],
    scores: Input[Dataset],
    drift: Input[Dataset],
    verdict: Input[Dataset],
    config: str,
    as_of: str,
    release: Output[Model],
    metrics: Output[Metrics],
) -> None:
    """Build a relevance-only release, unless the gate refused it."""
    from datetime import datetime
    from pathlib import Path

    from components.release.build import RelevanceInputs, build_release_stage
    from components.release.config import ReleaseConfig

    judged = (log, experts, encodings, relevance_model, scores, drift, verdict)
    relevance = RelevanceInputs(*(Path(artifact.path) for artifact in judged))
    settings = ReleaseConfig.model_validate_json(config)
    facts = build_release_stage(relevance, None, settings, datetime.fromisoformat(as_of), Path(release.path))
    for parity in facts["metrics"]["parity"]:
        metrics.log_metric(f"parity error {parity['model']}", parity["max_error"])
