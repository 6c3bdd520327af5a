"""Configuration of what every training shares: by how many processes, and where what it needs again is kept."""

from pydantic import Field

from components.contracts.config import StageConfig


class TrainingConfig(StageConfig):
    """How experts are tuned and rankers are fitted; models differ by rounding alone, and by what dropout draws.

    Attributes:
        processes: processes that train one model together (torchrun on this machine).
        folder: where checkpoints are kept, as a path, file://, pvc://<claim>/<path>, s3:// or gs://: a training that
            was stopped goes on there. Empty: the cache of this machine, which a pod loses.
    """

    processes: int = Field(default=1, ge=1)
    folder: str = ""


ONE_PROCESS = TrainingConfig()
