"""KFP components of the monitoring stage."""

from typing import Any

from kfp import dsl
from kfp.dsl import HTML, Dataset, Input, Metrics, Model, Output


@dsl.component(base_image="archipelago-monitor", install_kfp_package=False)
def measure_drift(
    log: Input[Dataset],
    encodings: Input[Dataset],
    config: dict[str, Any],
    drift: Output[Dataset],
    report: Output[HTML],
    evidently: Output[HTML],
    metrics: Output[Metrics],
    training_set: Input[Dataset] = None,
    ranker: Input[Model] = None,
) -> None:
    """Compare the evaluation days with earlier training days; without a ranker, the folds of the judgments.

    Args:
        log: the log.
        encodings: its pairs as the experts see them.
        config: the profile's section monitoring.
        training_set: samples with features; none in a run of the relevance half.
        ranker: the ranker, for its predictions.

    Returns:
        drift: the verdict by market and column.
        report: the verdict as a page.
        evidently: Evidently's own page, of the market where most moved; the verdict where nothing did.
        metrics: how many columns drifted, of how many.
    """
    import shutil
    from pathlib import Path

    from components.contracts.tools.manifest import facts, read_json, read_manifest
    from components.monitoring.config import MonitoringConfig
    from components.monitoring.drift import DRIFT, PAGE, judgment_drift, search_drift
    from components.monitoring.evidently_report import worst_page

    vectors, out, parsed = Path(encodings.path), Path(drift.path), MonitoringConfig.of_structure(config)
    if ranker:
        search_drift(Path(log.path), Path(training_set.path), vectors, Path(ranker.path), parsed, out)
    else:
        judgment_drift(Path(log.path), vectors, parsed, out)
    for name, value in read_manifest(out)["metrics"].items():
        metrics.log_metric(name, value)
    shutil.copyfile(out / PAGE, report.path)
    shutil.copyfile(worst_page(read_json(out / DRIFT), out) or out / PAGE, evidently.path)
    drift.metadata.update(facts(out))
