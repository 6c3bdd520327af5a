"""ES3 as a program on a cluster's Spark, and the choice between it and this process.

spark-submit components/contracts/spark/driver.py components.samples.job JOB
"""

import sys
from datetime import datetime
from pathlib import Path

from components.contracts.spark.work import RESULT, open_work
from components.samples.build import build_samples
from components.samples.config import SamplesConfig


def samples_in_their_place(
    log: Path, scores: Path, encodings: Path, config: SamplesConfig, as_of: datetime, out: Path
) -> None:
    """Do what `build_samples` does, here or where the configuration says."""
    if config.spark_application is None:
        build_samples(log, scores, encodings, config, as_of, out)
        return
    from components.contracts.spark.applications import (
        run_spark_application,
    )  # Kubernetes' client, for whom it is asked

    inputs = {"log": log, "scores": scores, "encodings": encodings}
    run_spark_application("samples", "components.samples.job", inputs, config, {"as_of": as_of.isoformat()}, out)


def main() -> None:
    """Build the samples of the job that the command line names."""
    job = Path(sys.argv[1])
    config, facts = open_work(job)
    as_of, chosen = datetime.fromisoformat(facts["as_of"]), SamplesConfig.of_structure(config)
    build_samples(job / "log", job / "scores", job / "encodings", chosen, as_of, job / RESULT)


if __name__ == "__main__":
    main()
