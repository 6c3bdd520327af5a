"""A job's folder as the program of a SparkApplication sees it."""

import shutil
from pathlib import Path
from typing import Any

from components.contracts.tools.manifest import MANIFEST, read_json
from components.contracts.training.jobs import JOB_FILE

RESULT, _SCRATCH = "result", "scratch"


def is_done(job: Path) -> bool:
    """Whether a job's folder holds its whole result."""
    return (job / RESULT / MANIFEST).is_file()


def open_work(job: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The configuration and the facts of a job, for its program; it spills beside them, where executors see it."""
    content, scratch = read_json(job / JOB_FILE), job / _SCRATCH
    shutil.rmtree(scratch, ignore_errors=True)  # an attempt's before
    scratch.mkdir()
    return content["config"] | {"spill": str(scratch)}, content["facts"]
