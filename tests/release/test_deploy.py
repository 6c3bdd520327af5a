"""Releases in a cluster: a verb ends well only when the service itself answers with the release."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from components.contracts.errors import BadInput
from components.contracts.releases import SIGNATURE
from components.contracts.signature import sign_release
from components.release import rollout
from components.release.cluster import Cluster, ClusterError
from components.release.deploy import deploy, promote, rollback, status
from components.release.inference_service import CANARY, PREVIOUS, RELEASE, RUN, canary_patch, read_state
from pipelines.cli.main import app
from tests.contracts.test_signature import write_keys
from tests.manifests.schemas import Schemas
from tests.release.kube_server import NAME, NAMESPACE, Kube, inference_service, kubeconfig, serving
from tests.release.small_release import write_small_release

STORE = "s3://shop/releases"
OLD, NEW, NEWER = "0" * 11 + "a", "b" * 12, "c" * 12


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollout, "POLL_S", 0.005)


@pytest.fixture
def connect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., tuple[Kube, Cluster]]]:
    """A server with its faults, and a client of it by kubeconfig."""
    with ExitStack() as servers:

        def start(served: str = OLD, **faults: Any) -> tuple[Kube, Cluster]:
            kube = servers.enter_context(serving(Kube(inference_service(f"{STORE}/{served}"), **faults)))
            (tmp_path / "kubeconfig").write_text(yaml.safe_dump(kubeconfig(kube.url)))
            monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
            monkeypatch.setattr(
                "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "kubeconfig")
            )
            return kube, Cluster(NAMESPACE, NAME)

        yield start


def test_deploy_waits_for_the_release_itself_although_the_service_is_ready_all_along(connect) -> None:
    kube, cluster = connect()
    assert deploy(cluster, NEW + "0123", run="run-1") == NEW
    assert kube.served == NEW
    assert kube.service["status"]["conditions"] == [{"type": "Ready", "status": "True"}]
    assert kube.service["spec"]["predictor"]["model"]["storageUri"] == f"{STORE}/{NEW}"
    assert kube.service["metadata"]["annotations"] == {RELEASE: NEW, PREVIOUS: OLD, RUN: "run-1"}


@pytest.mark.parametrize(
    ("step", "seen"),
    [
        (0, f"still answers with release {OLD}"),  # ready, complete, and KServe has not begun
        (1, "was told, and has not begun"),
        (2, "0 of 1 pods"),
        (3, "1 old pods"),
        (4, "1 old pods"),
        (5, f"still answers with release {OLD}"),  # all pods are new, and the Service still finds an old one
    ],
)
def test_no_state_on_the_way_counts_as_served(connect, step: int, seen: str) -> None:
    kube, cluster = connect(stuck_at=step)
    with pytest.raises(ClusterError, match=rf"not served after 0\.2 s.*{seen}"):
        deploy(cluster, NEW, timeout_s=0.2)
    assert kube.served == OLD


def test_a_pod_that_cannot_be_placed_and_an_image_that_is_not_there_are_told(connect) -> None:
    pods = [
        {
            "metadata": {"name": "archipelago-predictor-1"},
            "status": {
                "conditions": [{"type": "PodScheduled", "status": "False", "message": "0/3 nodes: no nvidia.com/gpu"}],
                "initContainerStatuses": [
                    {"name": "storage-initializer", "state": {"waiting": {"reason": "ErrImagePull"}}}
                ],
                "containerStatuses": [{"name": "x", "state": {"waiting": {"reason": "PodInitializing"}}}],
            },
        }
    ]
    _, cluster = connect(stuck_at=2, pods=pods)
    with pytest.raises(ClusterError) as told:
        deploy(cluster, NEW, timeout_s=0.1)
    assert "pod archipelago-predictor-1 is pending: 0/3 nodes: no nvidia.com/gpu" in str(told.value)
    assert "storage-initializer waits: ErrImagePull" in str(told.value)
    assert "PodInitializing" not in str(told.value)


def test_pods_that_admission_refuses_are_told(connect) -> None:
    message = 'pods "x" is forbidden: violates PodSecurity "restricted:latest"'
    _, cluster = connect(stuck_at=2, conditions=[{"type": "ReplicaFailure", "status": "True", "message": message}])
    with pytest.raises(ClusterError, match="violates PodSecurity"):
        deploy(cluster, NEW, timeout_s=0.1)


def test_a_rollout_that_kubernetes_gave_up_is_not_waited_for(connect) -> None:
    given_up = [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]
    _, cluster = connect(stuck_at=2, conditions=given_up)
    with pytest.raises(ClusterError, match="given up"):
        deploy(cluster, NEW, timeout_s=60)


def test_pods_that_may_not_be_listed_do_not_stop_a_deployment(connect) -> None:
    kube, cluster = connect(denied="/pods$")
    deploy(cluster, NEW)
    assert kube.served == NEW


def test_an_admission_policys_refusal_is_bad_input_and_nothing_changes(connect) -> None:
    kube, cluster = connect(admission=lambda old, new: "archipelago-deployer: a release lies in the folder")
    with pytest.raises(BadInput, match="refused to change it: archipelago-deployer: a release lies in the folder"):
        deploy(cluster, NEW, store="s3://elsewhere")
    assert kube.patches == [] and kube.served == OLD


def test_what_rbac_refuses_is_bad_input(connect) -> None:
    _, cluster = connect(denied="inferenceservices")
    with pytest.raises(BadInput, match="cannot get resource"):
        deploy(cluster, NEW)


def test_a_service_that_may_not_be_asked_names_the_way_out(connect) -> None:
    _, cluster = connect(denied="/proxy/")
    with pytest.raises(BadInput, match="--url"):
        deploy(cluster, NEW)


def test_the_controllers_own_writes_are_no_obstacle_and_endless_ones_are_told(connect) -> None:
    kube, cluster = connect(conflicts=3)
    deploy(cluster, NEW)
    assert kube.served == NEW and len(kube.patches) == 1
    kube, cluster = connect(conflicts=1000)
    with pytest.raises(ClusterError, match="changed by others"):
        deploy(cluster, NEW)
    assert kube.patches == []


def test_no_answer_from_the_api_server_is_one_line(tmp_path: Path) -> None:
    with serving(Kube(inference_service(f"{STORE}/{OLD}"))) as kube:
        (tmp_path / "kubeconfig").write_text(yaml.safe_dump(kubeconfig(kube.url)))
    said = subprocess.run(
        [str(Path(sys.executable).with_name("archipelago")), "rollback", "--namespace", NAMESPACE],
        capture_output=True, text=True, timeout=60, env=os.environ | {"KUBECONFIG": str(tmp_path / "kubeconfig")},
    )  # fmt: skip
    assert (said.returncode, "Traceback" in said.stderr) == (1, False), said.stderr
    assert said.stderr.splitlines()[-1].startswith(f"archipelago: {kube.url}: the API server does not answer")


@pytest.mark.parametrize("digest", ["", "abc", "g" * 12, "../../etc", "B" * 12])
def test_what_is_no_digest_changes_nothing(connect, digest: str) -> None:
    kube, cluster = connect()
    with pytest.raises(BadInput, match="digest"):
        deploy(cluster, digest)
    assert kube.seen == []


def test_a_canary_goes_up_step_by_step_and_becomes_the_service(connect) -> None:
    kube, cluster = connect()
    deploy(cluster, NEW, canary_percent=5)
    assert kube.served == OLD
    assert "annotations" not in kube.service["metadata"]  # a changed one would start the old release's pods anew
    told = status(cluster)
    assert (told["release"], told["share"], told["answers"]) == (OLD, 95, OLD)
    assert told[CANARY] == {"release": NEW, "share": 5, "answers": NEW}

    promote(cluster, 50)
    assert kube.service["spec"][CANARY][0]["trafficPercent"] == 50 and kube.served == OLD

    changes = len(kube.patches)
    assert promote(cluster) == NEW
    first, last = kube.patches[changes:]
    assert first["spec"]["canary"][0]["trafficPercent"] == 100  # it answers while the service's own pods change
    assert first["spec"]["predictor"]["model"]["storageUri"] == f"{STORE}/{NEW}"
    assert last["spec"] == {"canary": None}
    assert kube.served == NEW and "canary" not in kube.service["spec"]
    assert kube.service["metadata"]["annotations"] == {RELEASE: NEW, PREVIOUS: OLD}


def test_a_canary_that_does_not_answer_is_not_promoted(connect) -> None:
    kube, cluster = connect()
    deploy(cluster, NEW, canary_percent=5)
    kube.workloads[f"{NAME}-{CANARY}-predictor"].serves = None
    with pytest.raises(ClusterError, match="does not answer yet"):
        promote(cluster, timeout_s=0.1)
    assert kube.service["spec"][CANARY][0]["trafficPercent"] == 5 and kube.served == OLD


def test_a_promotion_cut_off_goes_on_where_it_was(connect) -> None:
    kube, cluster = connect()
    deploy(cluster, NEW, canary_percent=5)
    kube.stuck_at = 3
    with pytest.raises(ClusterError):
        promote(cluster, timeout_s=0.1)
    assert kube.service["spec"][CANARY][0]["trafficPercent"] == 100
    kube.stuck_at = 99
    promote(cluster, timeout_s=20)
    assert kube.served == NEW and "canary" not in kube.service["spec"]
    assert kube.service["metadata"]["annotations"][PREVIOUS] == OLD


def test_rolling_back_takes_the_canary_away_and_leaves_the_pods_alone(connect) -> None:
    kube, cluster = connect()
    deploy(cluster, NEW, canary_percent=5)
    assert rollback(cluster) == OLD
    assert "canary" not in kube.service["spec"] and kube.served == OLD
    assert kube.workloads[f"{NAME}-predictor"].generation == 1


@pytest.mark.parametrize("cut_off", [False, True])
def test_rolling_back_goes_to_the_release_before_after_a_promotion_too(connect, cut_off: bool) -> None:
    kube, cluster = connect()
    deploy(cluster, NEW, canary_percent=5)
    kube.stuck_at = 3 if cut_off else kube.stuck_at
    try:
        promote(cluster, timeout_s=0.2 if cut_off else 60)
    except ClusterError:
        assert cut_off
        kube.stuck_at = 99
    assert rollback(cluster) == OLD
    assert kube.served == OLD and "canary" not in kube.service["spec"]


def test_there_is_nothing_to_go_back_to_at_first(connect) -> None:
    kube, cluster = connect()
    with pytest.raises(BadInput, match="no release before"):
        rollback(cluster)
    assert kube.patches == []


def test_after_a_first_deploy_there_is_nothing_to_go_back_to(connect) -> None:
    base = yaml.safe_load(Path("manifests/base/inference-service.yaml").read_text(encoding="utf-8"))
    applied = base["spec"]["predictor"]["model"]["storageUri"].rpartition("/")[2]
    kube, cluster = connect(served=applied)
    deploy(cluster, NEW)
    with pytest.raises(BadInput, match=f"no release before {NEW}"):
        rollback(cluster)
    assert kube.served == NEW


def test_verbs_that_make_no_sense_now_say_so(connect) -> None:
    _, cluster = connect()
    with pytest.raises(BadInput, match="no canary"):
        promote(cluster)
    with pytest.raises(BadInput, match="served already"):
        deploy(cluster, OLD, canary_percent=5)
    deploy(cluster, NEW, canary_percent=5)
    for again in ({}, {"canary_percent": 10}):
        with pytest.raises(BadInput, match=f"release {NEW} is a canary with 5 %"):
            deploy(cluster, NEWER, **again)


def test_deploying_what_is_served_keeps_the_release_before(connect) -> None:
    kube, cluster = connect()
    deploy(cluster, NEW)
    deploy(cluster, NEW)
    assert kube.service["metadata"]["annotations"][PREVIOUS] == OLD


def test_canaries_of_others_are_left_alone() -> None:
    other = [{"predictor": {"name": "v2", "model": {}}, "trafficPercent": 5}]
    with pytest.raises(BadInput, match="v2"):
        read_state(inference_service(f"{STORE}/{OLD}", canary=other))


def test_a_patched_service_is_one_that_the_crd_takes(crds: Path) -> None:
    service = inference_service(f"{STORE}/{OLD}")
    canary = canary_patch(read_state(service), f"{STORE}/{NEW}", 10)["spec"]["canary"]
    whole = {
        **service,
        "spec": {**service["spec"], "canary": canary},
        "metadata": {"name": NAME, "namespace": NAMESPACE},
    }
    schemas = Schemas(crds)
    assert schemas.problems({key: value for key, value in whole.items() if key != "status"}) == []
    del canary[0]["predictor"]["model"]["modelFormat"]
    assert schemas.problems({key: value for key, value in whole.items() if key != "status"}) != []


def test_the_command_says_what_is_served(connect) -> None:
    connect()
    ask = ["--namespace", NAMESPACE, "--context", "test"]
    call = CliRunner().invoke
    assert call(app, ["deploy", NEW, *ask, "--run", "run-7"]).stdout == f"serving {NEW}\n"
    assert (
        call(app, ["deploy", NEWER, *ask, "--canary-percent", "20"]).stdout
        == f"canary {NEWER} answers 20 % of requests\n"
    )
    said = call(app, ["status", *ask]).stdout.splitlines()
    assert said == [
        f"release {NEW}  80 % of requests  answers",
        f"release {NEWER}  20 % of requests  answers",
        "made by run run-7",
        f"before it {OLD}",
    ]
    assert call(app, ["promote", *ask]).stdout == f"serving {NEWER}\n"
    assert call(app, ["rollback", *ask]).stdout == f"serving {NEW}\n"


def test_the_command_ends_with_bad_input_or_failure(connect) -> None:
    connect()
    ask = ["--namespace", "nowhere"]
    refused = CliRunner().invoke(app, ["deploy", NEW, *ask])
    assert isinstance(refused.exception, BadInput) and "nowhere/archipelago: not there" in str(refused.exception)
    unknown = CliRunner().invoke(app, ["status", "--namespace", NAMESPACE, "--context", "absent"])
    assert isinstance(unknown.exception, BadInput) and "absent" in str(unknown.exception)
    alone = CliRunner().invoke(app, ["status", "--context", "test"])
    assert isinstance(alone.exception, BadInput) and "--namespace" in str(alone.exception)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_small_release(tmp_path / "release")
    return tmp_path / "release"


def _changed(root: Path) -> None:
    (root / "blend.json").write_text("{ }")


def _other_features(root: Path) -> None:
    write_small_release(root, "search_ranker_v0-000000000000")


def _unsigned(root: Path) -> None:
    (root / SIGNATURE).unlink()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (_changed, "blend.json"),
        (_other_features, "built for the features search_ranker_v0-000000000000"),
        (_unsigned, "only signed releases"),
    ],
)
def test_a_release_that_would_not_start_changes_nothing(
    connect, folder: Path, tmp_path: Path, spoil, says: str
) -> None:
    kube, _ = connect()
    private, public = write_keys(tmp_path / "keys")
    sign_release(folder, private)
    spoil(folder)
    ask = ["--namespace", NAMESPACE, "--context", "test", "--public-key", str(public)]
    refused = CliRunner().invoke(app, ["deploy", str(folder), *ask])
    assert isinstance(refused.exception, BadInput) and re.search(says, str(refused.exception)), refused.exception
    assert kube.patches == []


def test_a_signed_release_of_this_code_is_deployed(connect, folder: Path, tmp_path: Path) -> None:
    connect()
    private, public = write_keys(tmp_path / "keys")
    sign_release(folder, private)
    name = json.loads((folder / "manifest.json").read_text())["digest"][:12]
    ask = ["--namespace", NAMESPACE, "--context", "test", "--public-key", str(public)]
    assert CliRunner().invoke(app, ["deploy", str(folder), *ask]).stdout == f"serving {name}\n"
    on_digest = CliRunner().invoke(app, ["deploy", name, *ask])
    assert isinstance(on_digest.exception, BadInput) and "on a release's folder" in str(on_digest.exception)
