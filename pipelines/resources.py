"""What a profile says that pipeline steps ask of a cluster: resources, retries, time, secrets, volumes."""

import re

from pydantic import Field, model_validator

from components.contracts.config import StageConfig
from components.contracts.quantities import Cpu, GpuName, ObjectName, Quantity
from pipelines.choices import RoleName


class SecretVariable(StageConfig):
    """One key of a Kubernetes Secret as an environment variable, or as a file that the variable names.

    Attributes:
        secret: the Secret's name, in the namespace of the run.
        key: key in it.
        variable: environment variable that the step reads, such as HF_TOKEN or AWS_SECRET_ACCESS_KEY.
        required: whether a step waits for the Secret; if not, it runs without the variable.
        file: mount the key as a file, and let the variable hold its path, such as ARCHIPELAGO_SIGNING_KEY's.
    """

    secret: ObjectName
    key: str = Field(min_length=1)
    variable: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    required: bool = True
    file: bool = False

    @model_validator(mode="after")
    def _a_variable_names_a_file_that_is_there(self) -> "SecretVariable":
        if self.file and not self.required:
            raise ValueError(f"{self.variable}: a Secret that is mounted as a file is required")
        return self


class Resources(StageConfig):
    """What one step's pod asks for.

    Attributes:
        cpu, memory: requests, as Kubernetes quantities.
        cpu_limit, memory_limit: most it may use; None sets no limit of CPU, and the request as the limit of memory.
        gpus: whole GPUs. A step that asks for some and finds fewer is an error: nothing falls back to the CPU.
        gpu: resource name of a GPU; nodes tainted with it are tolerated.
        shm: size of a memory-backed /dev/shm, which counts as memory; None keeps the container runtime's 64 MB.
        retries: times that a failed pod is started again: after 30 seconds, then each time after twice as long.
        timeout_s: seconds after which the pod is stopped; None sets no end.
        secrets: keys of Secrets as environment variables: tokens of gated checkpoints, an object store's credentials
            where the pod has no identity of its own.
        claims: volume claims of the namespace to mount, for data at pvc://<claim>/<path>.
    """

    cpu: Cpu = "1"
    memory: Quantity = "2Gi"
    cpu_limit: Cpu | None = None
    memory_limit: Quantity | None = None
    gpus: int = Field(default=0, ge=0)
    gpu: GpuName = "nvidia.com/gpu"
    shm: Quantity | None = None
    retries: int = Field(default=1, ge=0)
    timeout_s: int | None = Field(default=None, ge=1)
    secrets: tuple[SecretVariable, ...] = ()
    claims: tuple[ObjectName, ...] = ()

    @model_validator(mode="after")
    def _limits_are_not_below_requests(self) -> "Resources":
        for name, asked, limit in (
            ("cpu", self.cpu, self.cpu_limit),
            ("memory", self.memory, self.memory_limit),
            ("memory", self.shm or "0", self.memory_limit or self.memory),
        ):
            if limit and _amount(limit) < _amount(asked):
                raise ValueError(
                    f"{name}: the limit {limit} lies below {asked}, which is asked for (/dev/shm included)"
                )
        return self


class ResourcesConfig(StageConfig):
    """What steps ask of a cluster; a run on this machine ignores it.

    Attributes:
        roles: role (data, train, monitor) -> what each of its steps asks for.
        steps: step, such as train-ranker -> what differs from its role's.
    """

    roles: dict[RoleName, Resources] = Field(default_factory=dict)
    steps: dict[str, Resources] = Field(default_factory=dict)

    def of(self, role: RoleName, step: str) -> Resources:
        """A step's own resources: its role's, with what the step says put in their place."""
        asked = self.roles.get(role, Resources())
        own = self.steps.get(step)
        return Resources.model_validate(asked.model_dump() | own.model_dump(exclude_unset=True)) if own else asked


def _amount(quantity: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(\w*)", quantity).groups()  # type: ignore[union-attr]  # fields are checked
    powers = {"m": 1e-3, "": 1.0} | {letter: 1000.0**n for n, letter in enumerate("KMGT", 1)}
    return float(number) * (1024.0 ** ("KMGT".index(unit[0]) + 1) if unit.endswith("i") else powers[unit])
