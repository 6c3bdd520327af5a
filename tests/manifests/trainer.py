"""What Kubeflow Trainer 2 makes of a TrainJob and its TrainingRuntime, by its documented rules: a Job and its pods."""

import copy
from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]
NODE = "node"


def job_of(train_job: Mapping[str, Any], runtime: Mapping[str, Any]) -> Json:
    """The Job behind a runtime's replicated job `node`, with what the TrainJob says put in.

    The trainer's fields go to the container `node`; torch's plugin adds the variables that torchrun reads (PET_*); the
    runtime patches add volumes, mounts and variables. Labels of Kueue stay at the TrainJob.
    """
    name, trainer = train_job["metadata"]["name"], train_job["spec"]["trainer"]
    (replicated,) = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    assert replicated["name"] == NODE
    job = copy.deepcopy(replicated["template"])
    nodes = trainer.get("numNodes") or runtime["spec"]["mlPolicy"]["numNodes"]
    job["spec"] |= {"completionMode": "Indexed", "completions": nodes, "parallelism": nodes}
    template = job["spec"]["template"]
    template["metadata"]["labels"] |= {
        "jobset.sigs.k8s.io/jobset-name": name,
        "jobset.sigs.k8s.io/replicatedjob-name": NODE,
    }
    (container,) = template["spec"]["containers"]
    container |= {field: trainer[field] for field in ("image", "command", "args") if field in trainer}
    if "resourcesPerNode" in trainer:
        container["resources"] = trainer["resourcesPerNode"]
    container["env"] = [
        *container.get("env", ()),
        *trainer.get("env", ()),
        {"name": "PET_NNODES", "value": str(nodes)},
        {"name": "PET_NPROC_PER_NODE", "value": "auto"},
        {"name": "PET_NODE_RANK", "valueFrom": {"fieldRef": {"fieldPath": f"metadata.annotations['{_INDEX}']"}}},
        {"name": "PET_MASTER_ADDR", "value": f"{name}-{NODE}-0-0.{name}"},
        {"name": "PET_MASTER_PORT", "value": "29400"},
    ]
    for patch in train_job["spec"].get("runtimePatches", ()):
        (patched,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
        assert patched["name"] == NODE
        _patch(template["spec"], container, patched["template"]["spec"]["template"]["spec"])
    metadata = {"name": f"{name}-{NODE}-0", "namespace": runtime["metadata"]["namespace"]}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": job["spec"]}


_INDEX = "batch.kubernetes.io/job-completion-index"


def _patch(spec: Json, container: Json, patch: Mapping[str, Any]) -> None:
    spec["volumes"] = [*spec.get("volumes", ()), *patch.get("volumes", ())]
    for patched in patch.get("containers", ()):
        assert patched["name"] == container["name"]
        container["volumeMounts"] = [*container.get("volumeMounts", ()), *patched.get("volumeMounts", ())]
        container["env"] = [*container["env"], *patched.get("env", ())]
