"""What a profile's steps ask of a cluster, and how that reaches the compiled pods."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from components.contracts.errors import BadInput
from components.contracts.releases import SIGNING_KEY
from components.contracts.tools.device import GPUS_WANTED, compute_device
from pipelines.choices import Source
from pipelines.compile import compile_pipeline, tasks_of
from pipelines.profile import Profile, load_profile, profile_names

SOURCES: tuple[Source, ...] = ("simulator", "log", "judgments")


def compiled(profile: Profile, source: Source, folder: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Of each step: its task, its container, its part of the platform specification."""
    compile_pipeline(source, profile, folder / "p.yaml")
    spec, platform = yaml.safe_load_all((folder / "p.yaml").read_text())
    executors = {name.removeprefix("exec-"): e["container"] for name, e in spec["deploymentSpec"]["executors"].items()}
    pods = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    pods = {name.removeprefix("exec-"): pod for name, pod in pods.items()}
    return {task["componentRef"]["name"].removeprefix("comp-"): task for task in tasks_of(spec)}, executors, pods


def own(tmp_path: Path, resources: str) -> Profile:
    (tmp_path / "own.yaml").write_text(f"extends: tiny\nresources: {resources}\n")
    return load_profile(str(tmp_path / "own.yaml"))


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("name", profile_names())
def test_every_step_asks_for_what_it_needs(name: str, source: Source, tmp_path: Path) -> None:
    tasks, containers, pods = compiled(load_profile(name), source, tmp_path)
    assert containers.keys() == pods.keys() == tasks.keys()
    for step, container in containers.items():
        asked = container["resources"]
        assert {"resourceCpuRequest", "resourceMemoryRequest", "resourceMemoryLimit"} <= asked.keys(), step
        assert int(pods[step]["activeDeadlineSeconds"]) > 0, step
        assert pods[step]["securityContext"]["runAsNonRoot"] is True, step
        assert int(pods[step]["securityContext"]["runAsUser"]) > 0, step
    assert all(task["retryPolicy"]["maxRetryCount"] >= 1 for task in tasks.values())


def test_the_cluster_profile_asks_for_its_eight_gpus(tmp_path: Path) -> None:
    profile = load_profile("cluster")
    _, containers, pods = compiled(profile, "log", tmp_path)
    gpus = {
        s: int(c["resources"]["accelerator"]["resourceCount"])
        for s, c in containers.items()
        if "accelerator" in c["resources"]
    }
    assert gpus == {"encode": 8, "train-relevance": 1, "score-samples": 1, "train-ranker": 1}
    assert gpus["encode"] == profile.training.processes
    for step, count in gpus.items():
        assert {"name": GPUS_WANTED, "value": str(count)} in containers[step]["env"]
        assert pods[step]["tolerations"][0]["key"] == "nvidia.com/gpu"
    assert pods["encode"]["emptyDirMounts"][0]["mountPath"] == "/dev/shm"
    (secret,) = pods["encode"]["secretAsEnv"]
    assert secret["keyToEnv"] == [{"secretKey": "token", "envVar": "HF_TOKEN"}]


def test_a_step_says_what_differs_from_its_role(tmp_path: Path) -> None:
    profile = own(tmp_path, "{roles: {data: {memory: 6Gi, claims: [logs]}}, steps: {load: {memory: 9Gi}}}")
    _, containers, pods = compiled(profile, "log", tmp_path)
    assert containers["load"]["resources"]["resourceMemoryRequest"] == "9Gi"
    assert containers["build-samples"]["resources"]["resourceMemoryRequest"] == "6Gi"
    assert pods["load"]["pvcMount"][0]["mountPath"] == "/mnt/claims/logs"


def test_a_signing_key_is_a_file_whose_path_the_step_knows(tmp_path: Path) -> None:
    key = f"{{secret: release-keys, key: release.key, variable: {SIGNING_KEY}, file: true}}"
    profile = own(tmp_path, f"{{steps: {{build-release: {{secrets: [{key}]}}}}}}")
    _, containers, pods = compiled(profile, "judgments", tmp_path)
    (volume,) = pods["build-release"]["secretAsVolume"]
    assert (volume["secretName"], volume["mountPath"]) == ("release-keys", "/mnt/secrets/release-keys")
    assert {"name": SIGNING_KEY, "value": f"{volume['mountPath']}/release.key"} in containers["build-release"]["env"]
    assert [step for step, pod in pods.items() if "secretAsVolume" in pod] == ["build-release"]


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ("{steps: {load: {memory: lots}}}", "resources.steps.load.memory"),
        ("{steps: {load: {memory: 8Gi, memory_limit: 4Gi}}}", "4Gi lies below 8Gi"),
        ("{steps: {load: {cpu: '2', cpu_limit: 500m}}}", "500m lies below 2"),
        ("{steps: {load: {shm: 8Gi}}}", "lies below 8Gi"),
        ("{steps: {load: {gpus: -1}}}", "resources.steps.load.gpus"),
        ("{roles: {gpu: {}}}", "resources.roles.gpu"),
        ("{steps: {load: {retries: -1}}}", "resources.steps.load.retries"),
        ("{steps: {load: {secrets: [{secret: s, key: k, variable: 'A B'}]}}}", "variable"),
        ("{steps: {load: {secrets: [{secret: s, key: k, variable: A, file: true, required: false}]}}}", "A: a Secret"),
    ],
)
def test_what_no_cluster_would_take_is_named(tmp_path: Path, resources: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        own(tmp_path, resources)


def test_a_step_that_no_pipeline_has_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no step lode .*load"):
        compile_pipeline("log", own(tmp_path, "{steps: {lode: {gpus: 1}}}"), tmp_path / "p.yaml")
    assert not (tmp_path / "p.yaml").exists()


@pytest.mark.parametrize(
    ("section", "step"),
    [
        ("training: {folder: pvc://shared/jobs}", "encode"),
        ("training: {folder: pvc://shared/jobs}\nresources: {steps: {encode: {claims: [shared]}}}", "train-ranker"),
        ("samples: {engine: spark, spark_application: {image: i, folder: pvc://shared/jobs}}", "build-samples"),
        ("features: {engine: spark, spark_application: {image: i, folder: pvc://shared/jobs}}", "build-features"),
    ],
)
def test_a_claim_that_a_step_shares_and_does_not_mount_is_named(tmp_path: Path, section: str, step: str) -> None:
    (tmp_path / "own.yaml").write_text(f"extends: tiny\n{section}\n")
    profile = load_profile(str(tmp_path / "own.yaml"))
    with pytest.raises(BadInput, match=rf"step {step} does not mount it: resources.steps.{step}.claims: \[shared\]"):
        compile_pipeline("log", profile, tmp_path / "p.yaml")


def test_a_gpu_that_is_wanted_and_absent_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setenv(GPUS_WANTED, "8")
    with pytest.raises(BadInput, match="asked for 8 GPUs and sees 1"):
        compute_device()
    with pytest.raises(BadInput, match="asked for 8 GPUs and sees 1"):
        compute_device("cpu")
