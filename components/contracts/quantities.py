"""Kubernetes' quantities and names, as profiles say them."""

from typing import Annotated

from pydantic import StringConstraints

Quantity = Annotated[str, StringConstraints(pattern=r"^[1-9]\d*(\.\d+)?(Ki|Mi|Gi|Ti|K|M|G|T)?$")]
Cpu = Annotated[str, StringConstraints(pattern=r"^([1-9]\d*m?|\d+\.\d*[1-9]\d*)$")]
ObjectName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253)]
# The name of what nodes call a GPU, such as nvidia.com/gpu.
GpuName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9.-]+/[a-zA-Z0-9._-]+$")]
