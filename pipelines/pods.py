"""The pods of pipeline steps on a cluster: what a task asks for, and as whom it runs.

`apply` serves one task, `apply_all` every task of the pipeline that is being traced: any pipeline can use them.
"""

import importlib.util
import pkgutil
from pathlib import PurePosixPath
from typing import cast

from kfp import dsl, kubernetes
from kfp.dsl import base_component, pipeline_context

import components
from components.contracts.errors import BadInput
from components.contracts.locations import CLAIMS
from components.contracts.tools.device import GPUS_WANTED
from pipelines.choices import RoleName
from pipelines.resources import Resources, ResourcesConfig

# The user that the images run as (components/Dockerfile).
_USER = 10001
# A step's Secrets that are files lie below this folder, each in one of its name.
_SECRETS = PurePosixPath("/mnt/secrets")


def apply(task: dsl.PipelineTask, asked: Resources) -> None:
    """Let a task's pod ask for `asked`, and run it as the images' own user, as a `restricted` namespace demands."""
    task.set_cpu_request(asked.cpu).set_memory_request(asked.memory)
    task.set_memory_limit(asked.memory_limit or asked.memory)
    if asked.cpu_limit:
        task.set_cpu_limit(asked.cpu_limit)
    if asked.gpus:
        task.set_accelerator_type(asked.gpu).set_accelerator_limit(asked.gpus)
        task.set_env_variable(GPUS_WANTED, str(asked.gpus))
        kubernetes.add_toleration(task, key=asked.gpu, operator="Exists", effect="NoSchedule")
    if asked.shm:
        # A path in the pod, and the one that PyTorch and NCCL share memory through.
        kubernetes.empty_dir_mount(task, "shm", "/dev/shm", medium="Memory", size_limit=asked.shm)  # noqa: S108
    if asked.retries:
        task.set_retry(asked.retries, backoff_duration="30s", backoff_factor=2)
    if asked.timeout_s:
        kubernetes.set_timeout(task, asked.timeout_s)
    for secret in asked.secrets:
        if secret.file:
            task.set_env_variable(secret.variable, str(_SECRETS / secret.secret / secret.key))
        else:
            keys = {secret.key: secret.variable}
            kubernetes.use_secret_as_env(task, secret.secret, keys, optional=not secret.required)
    for name in sorted({secret.secret for secret in asked.secrets if secret.file}):
        kubernetes.use_secret_as_volume(task, name, str(_SECRETS / name))
    for claim in asked.claims:
        kubernetes.mount_pvc(task, claim, str(CLAIMS / claim))
    kubernetes.set_security_context(task, run_as_user=_USER, run_as_group=_USER, run_as_non_root=True)


def apply_all(config: ResourcesConfig) -> None:
    """Apply `config` to every task of the pipeline that is being traced.

    Raises:
        BadInput: `config` names a step that no pipeline has.
    """
    known = _steps()
    unknown = sorted(set(config.steps) - known)
    if unknown:
        raise BadInput(f"resources.steps: no step {', '.join(unknown)} (steps: {', '.join(sorted(known))})")
    for task in pipeline_context.Pipeline.get_default_pipeline().tasks.values():
        role = task.component_spec.implementation.container.image.removeprefix("archipelago-")
        apply(task, config.of(cast(RoleName, role), task.component_spec.name))


def _steps() -> set[str]:
    """Names of all steps: a profile serves every pipeline, and each has some of them."""
    stages = [stage.name for stage in pkgutil.iter_modules(components.__path__) if stage.ispkg]
    modules = [f"components.{stage}.component" for stage in stages]
    found = [importlib.import_module(module) for module in modules if importlib.util.find_spec(module)]
    return {
        value.name
        for module in found
        for value in vars(module).values()
        if isinstance(value, base_component.BaseComponent)
    }
