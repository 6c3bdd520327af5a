"""KFP components of the ranking stage."""

from typing import Any

from kfp import dsl
from kfp.dsl import HTML, ClassificationMetrics, Dataset, Input, Metrics, Model, Output


@dsl.component(base_image="archipelago-train", install_kfp_package=False)
def train_ranker(
    training_set: Input[Dataset],
    log: Input[Dataset],
    config: dict[str, Any],
    training: dict[str, Any],
    model: Output[Model],
    metrics: Output[Metrics],
    roc: Output[ClassificationMetrics],
    report: Output[HTML],
) -> None:
    """Train the ranker's variants and keep the released one, with its metrics, ROC curve and report.

    Args:
        training_set: samples with features.
        log: the log, for what was clicked and bought.
        config: the profile's section ranking.
        training: the profile's section training.

    Returns:
        model: the released variant.
        metrics: its figures on the test days.
        roc: its ROC curve there.
        report: every variant's figures.
    """
    import shutil
    from pathlib import Path

    from components.contracts.tools.manifest import facts, read_manifest
    from components.contracts.training.config import TrainingConfig
    from components.ranking.config import RankingConfig
    from components.ranking.train import train as train_ranker

    out = Path(model.path)
    how = TrainingConfig.of_structure(training)
    train_ranker(Path(training_set.path), Path(log.path), RankingConfig.of_structure(config), out, how)
    measured = read_manifest(out)["metrics"]
    released = measured["ranking"][measured["released"]]
    figures = {name: value for name, value in released.items() if isinstance(value, float)}
    for name, value in figures.items():
        metrics.log_metric(name, value)
    roc.log_roc_curve(**measured["roc"])
    intervals = {name: interval for name, interval in released["interval"].items() if name in figures}
    model.metadata.update(facts(out), figures=figures, intervals=intervals)
    shutil.copyfile(out / "reports" / "ranking.html", report.path)
