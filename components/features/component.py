"""KFP components of the features stage."""

from typing import Any

from kfp import dsl
from kfp.dsl import HTML, Dataset, Input, Markdown, Metrics, Output


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
    from components.features.job import features_in_their_place as build
    from components.features.tables import REPORT

    settings = FeaturesConfig.of_structure(config)
    build(Path(log.path), Path(scores.path), settings, datetime.fromisoformat(as_of), Path(features.path))
    shutil.copyfile(Path(features.path) / REPORT, report.path)
    features.metadata.update(facts(Path(features.path)))


@dsl.component(base_image="archipelago-data", install_kfp_package=False)
def join_features(
    features: Input[Dataset],
    log: Input[Dataset],
    samples: Input[Dataset],
    config: dict[str, Any],
    training_set: Output[Dataset],
) -> None:
    """Every sample with its features as they were known at its time.

    Args:
        features: the tables.
        log: the log.
        samples: entire-space samples.
        config: the profile's section features.

    Returns:
        training_set: a row per request, its samples nested.
    """
    from pathlib import Path

    from components.contracts.tools.manifest import facts
    from components.features.config import FeaturesConfig
    from components.features.job import join_in_its_place as join

    settings = FeaturesConfig.of_structure(config)
    join(Path(features.path), Path(log.path), Path(samples.path), settings, Path(training_set.path))
    training_set.metadata.update(facts(Path(training_set.path)))


@dsl.component(base_image="archipelago-data", install_kfp_package=False)
def materialise_features(
    features: Input[Dataset], release: str, metrics: Output[Metrics], summary: Output[Markdown]
) -> float:
    """Write what is newer to the online store of a release that is served; the variables' values come from Secrets.

    ARCHIPELAGO_ONLINE_STORE is the store's address, ARCHIPELAGO_FEATURE_REGISTRY that of a registry, if there is one.

    Args:
        features: the tables.
        release: the release's folder.

    Returns:
        metrics: how old the store's features are now, in hours, and the number of rows written, by view.
        summary: the same in words.
        Output: the age in hours.
    """
    import os
    from pathlib import Path

    from components.contracts.releases import FEATURE_REGISTRY, ONLINE_STORE
    from components.features.refresh import refresh

    addresses = (os.environ.get(variable) for variable in (ONLINE_STORE, FEATURE_REGISTRY))
    done = refresh(Path(features.path), release, *addresses)
    age = done.age_hours()
    metrics.log_metric("feature age hours", round(age, 2))
    for view, rows in done.rows.items():
        metrics.log_metric(f"rows {view}", rows)
    Path(summary.path).write_text(done.text(), encoding="utf-8")
    return age
