"""KFP components of the ranking stage."""

from typing import Any

from kfp import dsl
from kfp.dsl import HTML, ClassificationMetrics, Dataset, Input, Metrics, Model, Output


@dsl.component(base_image="archipelago-train", install_kfp_package=False)
def train_ranker(
    training_set: Input[Dataset],
    log: Input[Dataset],
    config: dict[str, Any],
    model: Output[Model],
    metrics: Output[Metrics],
    roc: Output[ClassificationMetrics],
    report: Output[HTML],
) -> None:
    """Train the ranker's variants and keep the released one, with its metrics, ROC curve and report."""
    import shutil
    from pathlib import Path

    from components.contracts.tools.manifest import read_manifest
    from components.ranking.config import RankingConfig
    from components.ranking.train import train as train_ranker

    out = Path(model.path)
    train_ranker(Path(training_set.path), Path(log.path), RankingConfig.model_validate(config), out)
    measured = read_manifest(out)["metrics"]
    for name, value in measured["ranking"][measured["released"]].items():
        if isinstance(value, float):
            metrics.log_metric(name, value)
    roc.log_roc_curve(**measured["roc"])
    shutil.copyfile(out / "reports" / "ranking.html", report.path)
