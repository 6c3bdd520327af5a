"""Feature tables as a program on a cluster's Spark, and the choice between it and this process.

spark-submit components/contracts/spark/driver.py components.features.job JOB
"""

import sys
from datetime import datetime
from pathlib import Path

from components.contracts.spark.work import RESULT, open_work
from components.features.config import FeaturesConfig
from components.features.tables import build_feature_tables


def features_in_their_place(log: Path, scores: Path, config: FeaturesConfig, as_of: datetime, out: Path) -> None:
    """Do what `build_feature_tables` does, here or where the configuration says."""
    if config.spark_application is None:
        build_feature_tables(log, scores, config, as_of, out)
        return
    from components.contracts.spark.applications import (
        run_spark_application,
    )  # Kubernetes' client, for whom it is asked

    inputs = {"log": log, "scores": scores}
    run_spark_application("features", "components.features.job", inputs, config, {"as_of": as_of.isoformat()}, out)


def main() -> None:
    """Build the feature tables of the job that the command line names."""
    job = Path(sys.argv[1])
    config, facts = open_work(job)
    as_of = datetime.fromisoformat(facts["as_of"])
    build_feature_tables(job / "log", job / "scores", FeaturesConfig.of_structure(config), as_of, job / RESULT)


if __name__ == "__main__":
    main()
