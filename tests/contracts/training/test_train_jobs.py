"""Trainings in pods of their own: from a compiled step to a TrainJob, its two pods' torchrun, and the result."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file

from components.contracts.errors import BadInput
from components.contracts.locations import CLAIMS
from components.contracts.tools import api_server
from components.contracts.tools.api_server import ClusterSilent
from components.contracts.tools.device import GPUS_WANTED
from components.contracts.tools.manifest import read_manifest, tree_digest
from components.contracts.training.config import STEP_IMAGE, TrainingConfig
from components.contracts.training.failures import TrainingFailed
from components.contracts.training.train_jobs import QUEUE_LABEL, run_train_job
from components.ranking.config import RankingConfig
from components.ranking.train import train
from components.relevance.config import ExpertConfig
from components.relevance.encoding.texts import normal_pairs
from components.relevance.model.spec import TuningSpec
from components.relevance.tuning.folds import tune
from pipelines.compile import compile_pipeline
from pipelines.profile import load_profile
from tests.contracts.s3_server import s3_server
from tests.contracts.training.trainer_server import Trainer, serving
from tests.manifests.rendering import render
from tests.manifests.schemas import Schemas
from tests.manifests.trainer import job_of
from tests.ranking.ranking_world import write_world
from tests.relevance.relevance_world import judgments, tiny_config

IMAGE = f"registry.example.com/archipelago-train@sha256:{'a' * 64}"
STORE = {"ACCESS_KEY_ID": "id", "SECRET_ACCESS_KEY": "key", "REGION": "eu-west-1", "EC2_METADATA_DISABLED": "true"}
RANKING = RankingConfig.model_validate(
    {
        "variants": ("dlrm_exposed", "hhsft_es3"),
        "epochs": 2,
        "batch_size": 64,
        "checkpoint_steps": 4,
        "bootstrap": 0,
        "device": "cpu",
        "model": dict.fromkeys(("embedding_dim", "gfa_rank"), 4)
        | dict.fromkeys(("token_width", "gfa_width", "sample_width", "expert_width"), 8),
    }
)
PROGRAM = ["components.ranking.job", "s3://bucket/jobs/ranking/0123", "cpu"]
TRAINING = TrainingConfig.model_validate(
    {"processes": 2, "folder": "s3://bucket/jobs", "train_job": {"queue": "archipelago", "nodes": 2, "cpu": "1"}}
)


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[Callable]:
    """A cluster, a step's environment in it, and fast looks at it."""
    monkeypatch.setattr(api_server, "POLL_S", 0.05)
    monkeypatch.setenv(STEP_IMAGE, IMAGE)
    monkeypatch.setenv("ARCHIPELAGO_CACHE", str(tmp_path / "cache"))
    caplog.set_level(logging.INFO)
    with ExitStack() as servers:

        def begin(**settings: Any) -> Trainer:
            trainer = servers.enter_context(serving(Trainer(render("training"), tmp_path / "machines", **settings)))
            write_kubeconfig(tmp_path / "kubeconfig", trainer.url, trainer.namespace)
            monkeypatch.setattr(
                "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "kubeconfig")
            )
            return trainer

        yield begin


def write_kubeconfig(path: Path, url: str, namespace: str) -> None:
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": {"token": "not-a-secret"}}],
        "contexts": [{"name": "test", "context": {"cluster": "c", "user": "u", "namespace": namespace}}],
        "current-context": "test",
    }
    path.write_text(yaml.safe_dump(content))


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[dict[str, bytes], dict[str, str]]]:
    """Objects of a bucket, and the variables that lead to it."""
    objects: dict[str, bytes] = {}
    with s3_server(objects) as endpoint:
        variables = {f"AWS_{name}": value for name, value in (STORE | {"ENDPOINT_URL": endpoint}).items()}
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        yield objects, variables


def compiled_training(folder: Path) -> tuple[str, TrainingConfig]:
    """Image and default training of a compiled pipeline's step train-ranker."""
    profile = folder / "own.yaml"
    profile.write_text(yaml.safe_dump({"extends": "tiny", "training": TRAINING.structure}))
    compile_pipeline("log", load_profile(str(profile)), folder / "p.yaml", {"train": IMAGE})
    spec = next(yaml.safe_load_all((folder / "p.yaml").read_text()))
    container = spec["deploymentSpec"]["executors"]["exec-train-ranker"]["container"]
    variables = {each["name"]: each["value"] for each in container["env"]}
    structure = spec["root"]["inputDefinitions"]["parameters"]["training_config"]["defaultValue"]
    return variables[STEP_IMAGE], TrainingConfig.of_structure(structure)


@pytest.mark.slow
def test_a_compiled_step_trains_in_two_pods_that_may_be_evicted(
    start: Callable, store: Any, crds: Path, tmp_path: Path, caplog: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pods' caches are their own: all they share is the bucket. Evicted, they go on to the same bits."""
    objects, variables = store
    world = write_world(tmp_path / "world", requests=200)
    image, training = compiled_training(tmp_path)
    monkeypatch.setenv(STEP_IMAGE, image)
    trainer = start(schemas=Schemas(crds), variables=variables)
    checkpoint = threading.Thread(target=evict_after_a_checkpoint, args=(trainer, objects), daemon=True)
    checkpoint.start()
    train(*world, RANKING, tmp_path / "ranker", training)
    checkpoint.join(5)

    (made,) = trainer.made
    assert made["spec"]["trainer"]["image"] == IMAGE
    assert made["spec"]["trainer"]["command"] == ["torchrun"]
    assert made["spec"]["trainer"]["args"][:3] == ["--nproc-per-node=1", "-m", "components.ranking.job"]
    assert made["metadata"]["labels"] == {QUEUE_LABEL: "archipelago"}
    assert trainer.running == {}, "it is removed when it is done"
    assert read_manifest(tmp_path / "ranker")["metrics"]["fits"]["hhsft_es3"]["processes"] == 2
    said = [record.getMessage() for record in caplog.records]
    assert sum("waits in queue archipelago" in line for line in said) == 2, "before it began, and evicted"
    assert any("2 of 2 nodes run" in line for line in said)
    assert any(line.startswith("node | ") and "going on at step" in line for line in said)

    train(*world, RANKING, tmp_path / "again", training)
    assert len(trainer.made) == 1, "what is done is not begun again"
    here = TrainingConfig(processes=2)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    train(*world, RANKING, tmp_path / "here", here)
    pods, local, again = (load_file(tmp_path / n / "ranker.safetensors") for n in ("ranker", "here", "again"))
    assert all(local[name].equal(tensor) and again[name].equal(tensor) for name, tensor in pods.items())


def evict_after_a_checkpoint(trainer: Trainer, objects: dict[str, bytes]) -> None:
    while not any(name.endswith("hhsft_es3.safetensors") for name in objects):
        time.sleep(0.01)
    (name,) = trainer.running
    trainer.evict(name)


@pytest.mark.slow
def test_pods_find_the_weights_that_they_tune(start: Callable, store: Any, tmp_path: Path) -> None:
    objects, variables = store
    trainer = start(variables=variables)
    expert = ExpertConfig(
        name="tuned", source="tiny:qwen3", tuning=TuningSpec(rank=4, alpha=8, epochs=1, batch_rows=16, dropout=0.0)
    )
    config = tiny_config(experts=(expert,), top_k=1)
    frame = judgments(160).assign(label=lambda frame: frame["grade"])
    pairs = normal_pairs(frame["market"], frame["query"], frame["title"])
    folder, spec = tune(expert, frame, pairs, config, None, TRAINING)
    assert len(trainer.made) == 1
    assert spec.digest == tree_digest(folder)
    assert {key.split("/")[1] for key in objects} == {"experts", "tuning"}
    again, same = tune(expert, frame, pairs, config, None, TRAINING)
    assert (again, same.digest, len(trainer.made)) == (folder, spec.digest, 1)


def asked(trainer: Trainer) -> None:
    assert TRAINING.train_job
    run_train_job(PROGRAM, TRAINING, TRAINING.train_job)


def test_a_failed_training_is_one_error_and_the_next_attempt_begins_anew(start: Callable, caplog: Any) -> None:
    trainer = start(stand_in=["sh", "-c", "echo no memory left; exit 1"])
    with pytest.raises(TrainingFailed, match=r"TrainJob .*/archipelago-ranking-\w+ \(job: s3://.*\): failed: jobset f"):
        asked(trainer)
    assert any(record.getMessage() == "node | no memory left" for record in caplog.records)
    (name,) = trainer.running
    assert trainer.running[name].end == "Failed", "it stays to be looked at"
    assert trainer.running[name].attempts == 4, "Kubeflow Trainer has tried again"
    trainer.stand_in = ["true"]
    asked(trainer)
    assert len(trainer.made) == 2 and trainer.running == {}


def test_a_step_that_comes_again_waits_for_the_training_that_goes_on(start: Callable, caplog: Any) -> None:
    trainer = start(stand_in=["sleep", "0.2"])
    threads = [threading.Thread(target=asked, args=(trainer,)) for _ in range(2)]
    threads[0].start()
    while not trainer.running:
        time.sleep(0.01)
    threads[1].start()
    threads[0].join(20)
    assert len(trainer.made) == 1
    assert any("is there already, waiting for it" in record.getMessage() for record in caplog.records)


def test_an_api_server_that_is_away_for_a_moment_ends_nothing(start: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = start(stand_in=["sleep", "0.3"])
    step = threading.Thread(target=asked, args=(trainer,))
    step.start()
    while not any(job.pods for job in trainer.running.values()):
        time.sleep(0.01)
    trainer.away = 5
    step.join(20)
    assert trainer.running == {} and len(trainer.made) == 1
    monkeypatch.setattr(api_server, "SILENCE_S", 0.1)
    trainer.stand_in = ["sleep", "30"]
    away = threading.Timer(1.0, lambda: setattr(trainer, "away", 10_000))
    away.start()
    with pytest.raises(ClusterSilent, match=r"can't read it now: the server is .*it may go on without"):
        asked(trainer)


def test_pods_have_the_claim_and_the_gpus_that_a_profile_names(start: Callable, crds: Path) -> None:
    trainer = start(stand_in=["true"], schemas=Schemas(crds))
    training = load_profile("cluster-trainjobs").training
    assert training.train_job
    run_train_job(["components.relevance.tuning.job", f"{training.folder}/tuning/0123"], training, training.train_job)
    (made,) = trainer.made
    pods = job_of(made, trainer.runtime)["spec"]
    (node,) = pods["template"]["spec"]["containers"]
    (mount,) = [each for each in node["volumeMounts"] if each["name"] == "jobs"]
    assert mount["mountPath"] == str(CLAIMS / "archipelago-training")
    assert {"name": "jobs", "persistentVolumeClaim": {"claimName": "archipelago-training"}} in pods["template"]["spec"][
        "volumes"
    ]
    size = {"cpu": "16", "memory": "128Gi", "nvidia.com/gpu": "4"}
    assert node["resources"] == {"requests": size, "limits": size}
    assert {"name": GPUS_WANTED, "value": "4"} in node["env"]
    assert node["args"][0] == "--nproc-per-node=4" and pods["completions"] == 2


def test_what_a_cluster_refuses_is_told_in_one_line(start: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = start()
    runtime = trainer.runtime
    trainer.runtime = runtime | {"metadata": runtime["metadata"] | {"name": "other"}}
    with pytest.raises(BadInput, match=r"can't make it: .*forbidden \(see manifests/training\)"):
        asked(trainer)
    trainer.runtime = runtime
    trainer.rules = [rule for rule in trainer.rules if "trainjobs" not in rule["resources"]]
    with pytest.raises(BadInput, match="can't read it: cannot get resource 'trainjobs'"):
        asked(trainer)
    monkeypatch.delenv(STEP_IMAGE)
    with pytest.raises(BadInput, match=f"{STEP_IMAGE} is not set"):
        asked(trainer)


def test_no_cluster_is_told(start: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    with pytest.raises(BadInput, match=r"training\.train_job: no access to a cluster"):
        asked(None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"folder": ""}, "lies at pvc://, s3:// or gs://"),
        ({"folder": "/data/jobs"}, "lies at pvc://, s3:// or gs://"),
        ({"processes": 3}, "3 processes can't be divided among 2 nodes"),
        ({"train_job": {"nodes": 2, "gpus": 2}}, "each of a node's 1 processes has one, or none has"),
        ({"train_job": {"nodes": 0}}, "train_job.nodes"),
        ({"train_job": {"memory": "lots"}}, "train_job.memory"),
    ],
)
def test_a_training_that_no_cluster_could_run_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        TrainingConfig.of_structure(TRAINING.structure | change)
