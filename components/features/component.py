"""KFP components of the features stage."""

from typing import Any

from kfp import dsl
from kfp.dsl import HTML, Dataset, Input, Output


@dsl.component(base_image="archipelago-data", install_kfp_package=False)
def build_features(
    log: Input[Dataset],
    scores: Input[Dataset],
    config: dict[str, Any],
    as_of: str,
    features: Output[Dataset],
    report: Output[HTML],
) -> None:
    """Feature tables of a log, one per Feast view, and their report.

    Args:
        log: the log.
        scores: relevance of its pairs.
        config: the profile's section features.
        as_of: ISO 8601 instant at which the log's windows end.

    Returns:
        features: the tables, day by day.
        report: what is in them.
    """
    import shutil
    from datetime import datetime
    from pathlib import Path

    from components.contracts.tools.manifest import facts
    from components.features.config import FeaturesConfig
    from components.features.tables import REPORT, build_feature_tables

    settings = FeaturesConfig.of_structure(config)
    build_feature_tables(
        Path(log.path), Path(scores.path), settings, datetime.fromisoformat(as_of), Path(features.path)
    )
    shutil.copyfile(Path(features.path) / REPORT, report.path)
    features.metadata.update(facts(Path(features.path)))


@dsl.component(base_image="archipelago-data", install_kfp_package=False)
def join_features(
    features: Input[Dataset], log: Input[Dataset], samples: Input[Dataset], training_set: Output[Dataset]
) -> None:
    """Every sample with its features as they were known at its time.

    Args:
        features: the tables.
        log: the log.
        samples: entire-space samples.

    Returns:
        training_set: a row per sample.
    """
    from pathlib import Path

    from components.contracts.tools.manifest import facts
    from components.features.join import join_training_set

    join_training_set(Path(features.path), Path(log.path), Path(samples.path), Path(training_set.path))
    training_set.metadata.update(facts(Path(training_set.path)))
