"""Feature tables and the join as programs on a cluster's Spark, and the choice between it and this process.

spark-submit components/contracts/spark/driver.py components.features.job JOB
"""

import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from components.contracts.spark.work import RESULT, open_work
from components.features.config import FeaturesConfig
from components.features.join import join_training_set
from components.features.tables import build_feature_tables


def features_in_their_place(log: Path, scores: Path, config: FeaturesConfig, as_of: datetime, out: Path) -> None:
    """Do what `build_feature_tables` does, here or where the configuration says."""
    if config.spark_application is None:
        build_feature_tables(log, scores, config, as_of, out)
    else:
        _submit("features", {"log": log, "scores": scores}, config, {"as_of": as_of.isoformat()}, out)


def join_in_its_place(features: Path, log: Path, samples: Path, config: FeaturesConfig, out: Path) -> None:
    """Do what `join_training_set` does, here or where the configuration says."""
    if config.spark_application is None:
        join_training_set(features, log, samples, config, out)
    else:
        _submit("join", {"features": features, "log": log, "samples": samples}, config, {}, out)


def _submit(kind: str, inputs: Mapping[str, Path], config: FeaturesConfig, facts: Mapping[str, Any], out: Path) -> None:
    from components.contracts.spark.applications import (
        run_spark_application,
    )  # Kubernetes' client, for whom it is asked

    run_spark_application(kind, "components.features.job", inputs, config, {"kind": kind, **facts}, out)


def main() -> None:
    """Do the work of the job that the command line names."""
    job = Path(sys.argv[1])
    structure, facts = open_work(job)
    config = FeaturesConfig.of_structure(structure)
    if facts["kind"] == "join":
        join_training_set(job / "features", job / "log", job / "samples", config, job / RESULT)
    else:
        as_of = datetime.fromisoformat(facts["as_of"])
        build_feature_tables(job / "log", job / "scores", config, as_of, job / RESULT)


if __name__ == "__main__":
    main()
