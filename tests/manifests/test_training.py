"""What trainings in pods of their own need: it renders, is valid, fits the profile that uses it; pods break no rule."""

from typing import Any

import pytest

from components.contracts.locations import claim_of
from components.contracts.tools.device import GPUS_WANTED
from components.contracts.training.config import TrainingConfig
from pipelines.profile import load_profile
from tests.manifests import pod_rules
from tests.manifests.rendering import render
from tests.manifests.schemas import Schemas
from tests.manifests.trainer import NODE, Json, job_of

RULES = [
    pod_rules.pods_are_restricted,
    pod_rules.accounts_exist_and_keep_their_tokens,
    pod_rules.containers_are_bounded,
    pod_rules.images_are_pinned_and_fit_their_commands,
    pod_rules.mounts_and_volumes_agree,
]


@pytest.fixture(scope="module")
def training() -> list[dict[str, Any]]:
    return render("training")


def one(manifests: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = [manifest for manifest in manifests if manifest["kind"] == kind]
    return found


def example(config: TrainingConfig) -> Json:
    """A TrainJob as the SDK makes it of a profile's training; that it does so, its own test shows."""
    asked = config.train_job
    assert asked
    size = {"cpu": asked.cpu, "memory": asked.memory, asked.gpu: str(asked.gpus)}
    claim = claim_of(config.folder)
    mount = {"name": "jobs", "mountPath": f"/mnt/claims/{claim}"}
    pod = {
        "volumes": [{"name": "jobs", "persistentVolumeClaim": {"claimName": claim}}],
        "containers": [{"name": NODE, "volumeMounts": [mount]}],
    }
    job = {"name": NODE, "template": {"spec": {"template": {"spec": pod}}}}
    return {
        "metadata": {"name": "archipelago-tuning-0123"},
        "spec": {
            "trainer": {
                "image": "registry.example.com/archipelago-train:0.1.0",
                "command": ["torchrun"],
                "args": ["-m", "components.ranking.job"],
                "numNodes": asked.nodes,
                "resourcesPerNode": {"requests": size, "limits": size},
                "env": [{"name": GPUS_WANTED, "value": str(asked.gpus)}],
            },
            "runtimePatches": [{"trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": [job]}}}}],
        },
    }


@pytest.mark.parametrize("folder", ["training", "training/cluster"])
def test_everything_is_valid(folder: str, schemas: Schemas) -> None:
    made = render(folder)
    assert [problem for manifest in made for problem in schemas.problems(manifest)] == []
    namespaces = {m["metadata"].get("namespace") for m in made}
    assert namespaces == ({None} if "cluster" in folder else {"kubeflow-user-example-com"})


def test_the_profile_names_what_is_made(training: list[dict[str, Any]]) -> None:
    profile = load_profile("cluster-trainjobs")
    asked, claim = profile.training.train_job, claim_of(profile.training.folder)
    assert asked
    assert one(training, "TrainingRuntime")["metadata"]["name"] == asked.runtime
    assert one(training, "LocalQueue")["metadata"]["name"] == asked.queue
    assert one(training, "PersistentVolumeClaim")["metadata"]["name"] == claim
    assert one(training, "PersistentVolumeClaim")["spec"]["accessModes"] == ["ReadWriteMany"]
    for step in ("encode", "train-ranker"):
        assert claim in profile.resources.of("train", step).claims
    cluster = render("training/cluster")
    assert one(training, "LocalQueue")["spec"]["clusterQueue"] == one(cluster, "ClusterQueue")["metadata"]["name"]
    (group,) = one(cluster, "ClusterQueue")["spec"]["resourceGroups"]
    (flavor,) = group["flavors"]
    assert flavor["name"] == one(cluster, "ResourceFlavor")["metadata"]["name"]
    quota = {each["name"]: each["nominalQuota"] for each in flavor["resources"]}
    assert quota["nvidia.com/gpu"] == str(profile.training.processes), "one training of the profile is let in"
    assert quota["cpu"] == str(int(asked.cpu) * asked.nodes)


def test_a_training_pod_breaks_no_rule(training: list[dict[str, Any]], schemas: Schemas) -> None:
    job = job_of(example(load_profile("cluster-trainjobs").training), one(training, "TrainingRuntime"))
    assert schemas.problems(job) == []
    made = [*training, job]
    assert [problem for rule in RULES for problem in rule(made)] == []


def test_training_pods_talk_to_each_other_and_to_stores_alone(training: list[dict[str, Any]]) -> None:
    policy = one(training, "NetworkPolicy")["spec"]
    labels = job_of(example(load_profile("cluster-trainjobs").training), one(training, "TrainingRuntime"))["spec"][
        "template"
    ]["metadata"]["labels"]
    pods = {"podSelector": {"matchLabels": policy["podSelector"]["matchLabels"]}}
    assert policy["podSelector"]["matchLabels"].items() <= labels.items()
    assert labels["sidecar.istio.io/inject"] == "false", "no proxy between pods, where a profile's namespace injects it"
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    assert policy["ingress"] == [{"from": [pods]}]
    others = [rule for rule in policy["egress"] if rule != {"to": [pods]}]
    assert len(others) == len(policy["egress"]) - 1 == 2
    assert sorted(port["port"] for rule in others for port in rule["ports"]) == [53, 53, 443]
    (block,) = [peer["ipBlock"] for rule in others for peer in rule["to"] if "ipBlock" in peer]
    assert block["except"] == ["169.254.0.0/16"], "a node's own credentials"


def test_a_steps_rights_end_at_train_jobs(training: list[dict[str, Any]]) -> None:
    rights = {
        (resource, verb)
        for rule in one(training, "Role")["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert rights == {
        *(("trainjobs", verb) for verb in ("get", "create", "delete")),
        ("trainingruntimes", "get"),
        ("pods", "list"),
        ("pods/log", "get"),
    }
    binding = one(training, "RoleBinding")
    assert binding["roleRef"]["name"] == one(training, "Role")["metadata"]["name"]
