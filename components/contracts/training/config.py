"""Configuration of what every training shares: by how many processes, where, and where what it needs again is kept."""

from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from components.contracts.config import StageConfig
from components.contracts.quantities import Cpu, GpuName, ObjectName, Quantity

# Environment variable that holds the image of a compiled step that trains: a TrainJob's pods run it as well.
STEP_IMAGE = "ARCHIPELAGO_STEP_IMAGE"
_SHARED = ("pvc", "s3", "gs")


class TrainJobConfig(StageConfig):
    """A TrainJob of Kubeflow Trainer, which a step makes, waits for and removes.

    Attributes:
        runtime: TrainingRuntime or ClusterTrainingRuntime that says the rest about its pods: account, secrets, shared
            memory, tolerations (manifests/training).
        queue: Kueue's LocalQueue that it waits in. Empty: it starts at once.
        nodes: pods among which the training's processes are divided.
        cpu, memory: what each asks for, and may use at most.
        gpus: GPUs of each: one a process, or none.
        gpu: resource name of a GPU.
    """

    runtime: ObjectName = "archipelago"
    queue: ObjectName | None = None
    nodes: int = Field(default=1, ge=1)
    cpu: Cpu = "4"
    memory: Quantity = "16Gi"
    gpus: int = Field(default=0, ge=0)
    gpu: GpuName = "nvidia.com/gpu"


class TrainingConfig(StageConfig):
    """How experts are tuned and rankers are fitted; models differ by rounding alone, and by what dropout draws.

    Attributes:
        processes: processes that train one model together: of torchrun on this machine, or in a TrainJob's pods.
        folder: where checkpoints are kept, as a path, file://, pvc://<claim>/<path>, s3:// or gs://: a training that
            was stopped goes on there. Empty: the cache of this machine, which a pod loses.
        train_job: trains in pods of their own, not in the step's; wants a folder that they share (pvc, s3, gs).
    """

    processes: int = Field(default=1, ge=1)
    folder: str = ""
    train_job: TrainJobConfig | None = None

    @model_validator(mode="after")
    def _pods_share_a_folder_and_the_processes(self) -> Self:
        if (asked := self.train_job) is None:
            return self
        if urlsplit(self.folder).scheme not in _SHARED:
            raise ValueError(f"folder {self.folder!r}: with train_job it lies at pvc://, s3:// or gs://, for all pods")
        if self.processes % asked.nodes:
            raise ValueError(f"{self.processes} processes can't be divided among {asked.nodes} nodes")
        each = self.processes // asked.nodes
        if asked.gpus not in (0, each):
            raise ValueError(f"train_job.gpus is {asked.gpus}: each of a node's {each} processes has one, or none has")
        return self


ONE_PROCESS = TrainingConfig()
