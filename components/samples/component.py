"""KFP components of the samples stage."""

from typing import Any

from kfp import dsl
from kfp.dsl import HTML, Dataset, Input, Metrics, Output


@dsl.component(base_image="archipelago-data", install_kfp_package=False)
def build_samples(
    log: Input[Dataset],
    scores: Input[Dataset],
    encodings: Input[Dataset],
    config: dict[str, Any],
    as_of: str,
    samples: Output[Dataset],
    metrics: Output[Metrics],
    report: Output[HTML],
) -> None:
    """Make entire-space samples (ES3) of a log, with their volume report.

    Args:
        log: the log.
        scores: relevance of its pairs.
        encodings: titles and queries as vectors.
        config: the profile's section samples.
        as_of: ISO 8601 instant at which the log's windows end.

    Returns:
        samples: a row per user, query and item that may have been wanted.
        metrics: rows and clicks after each step, over those of plain exposures; share of unexposed positives found.
        report: the same as a page.
    """
    import shutil
    from datetime import datetime
    from pathlib import Path

    from components.contracts.tools.manifest import facts, read_json
    from components.samples.config import SamplesConfig
    from components.samples.job import samples_in_their_place as build

    out = Path(samples.path)
    parsed = SamplesConfig.of_structure(config)
    build(Path(log.path), Path(scores.path), Path(encodings.path), parsed, datetime.fromisoformat(as_of), out)
    volumes = read_json(out / "volumes.json")
    for name in ("share", "estimated_share"):
        if volumes["coverage"]["all"][name] is not None:
            metrics.log_metric(f"coverage {name}", volumes["coverage"]["all"][name])
    for step, volume in volumes["steps"].items():
        metrics.log_metric(f"rows {step}", volume["rows_ratio"])
        metrics.log_metric(f"clicks {step}", volume["clicks_ratio"])
    shutil.copyfile(out / "reports" / "samples.html", report.path)
    samples.metadata.update(facts(out))
