"""KFP components of the monitoring stage."""

from kfp import dsl
from kfp.dsl import HTML, Dataset, Input, Metrics, Model, Output


@dsl.component(base_image="archipelago-monitor", install_kfp_package=False)
def search_drift(
    training_set: Input[Dataset],
    encodings: Input[Dataset],
    ranker: Input[Model],
    config: str,
    drift: Output[Dataset],
    report: Output[HTML],
    evidently: Output[HTML],
    metrics: Output[Metrics],
) -> None:
    """Compare the evaluation days with earlier training days."""
    import shutil
    from pathlib import Path

    from components.contracts.tools.manifest import read_manifest
    from components.monitoring.config import MonitoringConfig
    from components.monitoring.drift import EVIDENTLY_PAGE, PAGE, search_drift

    out = Path(drift.path)
    parsed = MonitoringConfig.model_validate_json(config)
    search_drift(Path(training_set.path), Path(encodings.path), Path(ranker.path), parsed, out)
    for name, value in read_manifest(out)["metrics"].items():
        metrics.log_metric(name, value)
    shutil.copyfile(out / PAGE, report.path)
    shutil.copyfile(out / EVIDENTLY_PAGE, evidently.path)


@dsl.component(base_image="archipelago-monitor", install_kfp_package=False)
def relevance_drift(
    log: Input[Dataset],
    encodings: Input[Dataset],
    relevance_model: Input[Model],
    config: str,
    drift: Output[Dataset],
    report: Output[HTML],
    evidently: Output[HTML],
    metrics: Output[Metrics],
) -> None:
    """Compare the folds of the judgments."""
    import shutil
    from pathlib import Path

    from components.contracts.tools.manifest import read_manifest
    from components.monitoring.config import MonitoringConfig
    from components.monitoring.drift import EVIDENTLY_PAGE, PAGE, relevance_drift

    out = Path(drift.path)
    parsed = MonitoringConfig.model_validate_json(config)
    relevance_drift(Path(log.path), Path(encodings.path), Path(relevance_model.path), parsed, out)
    for name, value in read_manifest(out)["metrics"].items():
        metrics.log_metric(name, value)
    shutil.copyfile(out / PAGE, report.path)
    shutil.copyfile(out / EVIDENTLY_PAGE, evidently.path)
