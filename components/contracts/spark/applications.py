"""A stage's work on a cluster's Spark: a SparkApplication whose driver runs the stage's program over a job's folder.

Driver and executors read and write the folder on a claim that all of them mount: inputs are copied there, and the
result from there. What holds for a job holds here (contracts/training/jobs.py): it is known by its inputs, a step that
is started again finds it, and one that is done is not begun again.
"""

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kubernetes import config

from components.contracts.engine import EngineConfig, SparkApplicationConfig
from components.contracts.errors import ArchipelagoError, BadInput
from components.contracts.locations import CLAIMS, claim_of
from components.contracts.spark.work import RESULT, is_done
from components.contracts.tools.api_server import ClusterObject, Json
from components.contracts.tools.log import get_logger
from components.contracts.tools.manifest import (
    atomic_directory,
    input_digest,
    package_versions,
    write_json,
)
from components.contracts.training.jobs import JOB_FILE, JobFolder, finished_job

# Where the image data-spark has this project, and Spark's version in it.
PACKAGES = "/opt/venv/lib/python3.11/site-packages"
SPARK = "4.0.1"
_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_USER = 10001
_logger = get_logger(__name__)


class SparkFailed(ArchipelagoError):
    """A SparkApplication failed."""


def run_spark_application(
    kind: str, module: str, inputs: Mapping[str, Path], config: EngineConfig, facts: Mapping[str, Any], out: Path
) -> None:
    """Let a SparkApplication do a stage's work.

    Args:
        kind: the stage, such as "samples".
        module: its program, which takes a job's folder (`open_work`) and leaves the result in it.
        inputs: name -> directory with a manifest.
        config: the stage's configuration; its `spark_application` says where.
        facts: what else the program is told.
        out: the result, a directory with a manifest; there whole or not at all.

    Raises:
        SparkFailed: the application failed; says what the operator says.
        ClusterSilent: the API server stayed away for long.
        BadInput: no cluster, no such claim, or what the API server refuses.
    """
    asked = config.spark_application
    assert asked is not None

    def write(job: Path) -> None:
        for name, folder in inputs.items():
            shutil.copytree(folder, job / name)
        content = {
            "config": config.model_copy(update={"spark_application": None}).structure,
            "facts": dict(facts),
            "inputs": {name: input_digest(folder) for name, folder in inputs.items()},
            "packages": package_versions(["archipelago-search"]),
        }
        write_json(job / JOB_FILE, content)

    def work(job: JobFolder) -> JobFolder:
        _run(kind, module, job, config, asked)
        return job

    job = finished_job(kind, asked.folder, write, work, is_done)
    with atomic_directory(out) as staging:
        shutil.copytree(job.path / RESULT, staging, dirs_exist_ok=True)
    job.discard()


def _run(kind: str, module: str, job: JobFolder, config: EngineConfig, asked: SparkApplicationConfig) -> None:
    name = f"archipelago-{kind}-{hashlib.sha256(job.location.encode()).hexdigest()[:16]}"
    application = ClusterObject(
        "SparkApplication",
        "sparkoperator.k8s.io",
        "v1beta2",
        "sparkapplications",
        _namespace(),
        name,
        about=f"job: {job.location}",
        hint="manifests/spark",
    )
    found = application.read()
    if found and _state(found) in ("COMPLETED", "FAILED"):  # an attempt before; its result is not there
        application.remove()
    new = application.create(application_spec(module, job.path, config, asked))
    _logger.info("SparkApplication %s: %s", name, "made" if new else "is there already, waiting for it")

    def look(found: Json) -> str | None:
        state, status = _state(found), found.get("status", {})
        if state == "FAILED":
            why = status.get("applicationState", {}).get("errorMessage") or "no reason given"
            raise SparkFailed(f"{application}: {why} (driver: {status.get('driverInfo', {}).get('podName')})")
        running = sum(each == "RUNNING" for each in (status.get("executorState") or {}).values())
        return None if state == "COMPLETED" else f"{state or 'new'}, {running} of {asked.executors} executors run"

    application.wait(look)
    application.remove()


def application_spec(module: str, job: Path, config: EngineConfig, asked: SparkApplicationConfig) -> Json:
    """The specification of the SparkApplication that runs a module over a job's folder."""
    claim = claim_of(asked.folder)
    pod = {
        "cores": asked.cores,
        "memory": config.memory.removesuffix("B").lower(),
        # Profiles of Kubeflow inject a proxy, which would outlive the work and stand between the pods.
        "labels": {"app.kubernetes.io/component": "spark", "sidecar.istio.io/inject": "false"},
        "volumeMounts": [{"name": "jobs", "mountPath": str(CLAIMS / str(claim))}],
        "podSecurityContext": {"fsGroup": _USER},
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    return {
        "type": "Python",
        "pythonVersion": "3",
        "mode": "cluster",
        "sparkVersion": SPARK,
        "image": asked.image,
        "mainApplicationFile": f"local://{PACKAGES}/components/contracts/spark/driver.py",
        "arguments": [module, str(job)],
        "restartPolicy": {
            "type": "OnFailure",
            "onFailureRetries": 2,
            "onFailureRetryInterval": 30,
            "onSubmissionFailureRetries": 3,
            "onSubmissionFailureRetryInterval": 30,
        },
        "sparkConf": {
            "spark.ui.enabled": "false",
            "spark.sql.shuffle.partitions": str(2 * asked.executors * asked.cores),
            "spark.sql.catalogImplementation": "in-memory",
        },
        "volumes": [{"name": "jobs", "persistentVolumeClaim": {"claimName": claim}}],
        "driver": pod | {"serviceAccount": asked.account},
        "executor": pod | {"instances": asked.executors},
    }


def _state(found: Json) -> str:
    return str(found.get("status", {}).get("applicationState", {}).get("state", ""))


def _namespace() -> str:
    """The step's own; outside of a cluster that of the kubeconfig."""
    try:
        if _NAMESPACE.is_file():
            config.load_incluster_config()
            return _NAMESPACE.read_text(encoding="utf-8").strip()
        config.load_kube_config()
        return str(config.list_kube_config_contexts()[1]["context"].get("namespace", "default"))
    except config.ConfigException as error:
        raise BadInput(f"spark_application: no access to a cluster ({error})") from error
