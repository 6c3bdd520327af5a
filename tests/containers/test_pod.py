"""The serving pod's two containers side by side, as `overlays/dev` and KServe make them: answers, faults, its end."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from components.contracts.errors import BadInput
from serving.local.triton_server import triton_environment
from tests.containers.docker_daemon import docker
from tests.containers.docker_pod import POD_ADDRESS, Pod, Unknown, running_pod
from tests.containers.roles import BASE, BUILD, REPOSITORY
from tests.containers.stand_in_triton import write_context
from tests.manifests.controller import made_by_kserve
from tests.manifests.pods import flags
from tests.manifests.rendering import render
from tests.release.tiny_release import Tiny, tiny_releases

pytestmark = [pytest.mark.containers, pytest.mark.timeout(1800)]  # the first test waits for the builds

STAND_IN = "archipelago-stand-in-triton:latest"
URL = f"http://{POD_ADDRESS}:8080"


@pytest.fixture(scope="module")
def manifests() -> list[dict[str, Any]]:
    return render("overlays/dev")


@pytest.fixture(scope="module")
def template(manifests: list[dict[str, Any]]) -> dict[str, Any]:
    """Template of the Deployment that KServe makes."""
    (deployment,) = (m for m in made_by_kserve(manifests) if m["kind"] == "Deployment")
    found: dict[str, Any] = deployment["spec"]["template"]
    return found


@pytest.fixture(scope="module")
def pod_images(docker_host: str, images: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> None:
    """The images that the manifest names, under its own tags."""
    try:
        venv = triton_environment()
    except BadInput as absent:
        pytest.skip(str(absent))
    context = tmp_path_factory.mktemp("triton")
    write_context(venv, BASE, context)
    docker("build", "--tag", STAND_IN, context, host=docker_host)
    own = ("--target", "triton", "--tag", "archipelago-triton:0.1.0", "--build-arg", f"TRITON_BASE={STAND_IN}")
    docker("build", *BUILD, *own, REPOSITORY, host=docker_host)
    docker("tag", images["serve"], "archipelago-serve:0.1.0", host=docker_host)


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search release as the storage initializer leaves it: its user's, in a folder of another name."""
    tiny: Tiny = tiny_releases(tmp_path_factory)
    fetched = tmp_path_factory.mktemp("mnt") / "models"
    shutil.copytree(tiny.search, fetched)
    for path in (fetched, *fetched.rglob("*")):
        os.chown(path, 1000, 1000)
    for folder in fetched.parents:  # docker mounts the folder, whoever may pass through what is above it
        if folder.stat().st_uid == os.getuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o055)
    return fetched


@pytest.fixture(scope="module")
def pod(docker_host: str, pod_images: None, template: dict[str, Any], release: Path) -> Iterator[Pod]:
    folders = {"kserve-provision-location": release}
    with running_pod(docker_host, "archipelago", template, BASE, folders) as running:
        print(f"ready after {running.wait_until(ready=True):.1f} s")
        yield running


def test_what_is_served_is_what_was_computed_offline(pod: Pod, release: Path) -> None:
    code = (
        "import json, sys; from pathlib import Path; from serving.local.check import check_serving;"
        "print(json.dumps(check_serving(Path(sys.argv[1]), sys.argv[2])))"
    )
    done = pod.inside(sys.executable, "-c", code, str(release), URL)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["requests"] > 20
    assert result["max_abs_diff"] < 1e-4


def test_tritons_own_clients_are_answered_over_both_protocols(pod: Pod, release: Path) -> None:
    asked = [{"model": "relevance", "inputs": {"market": ["ID"], "query": ["kaos"], "title": ["kaos hitam"]}}]
    clients = str(REPOSITORY / "tests" / "serving" / "triton_clients.py")
    done = pod.inside(sys.executable, clients, f"{POD_ADDRESS}:8080", f"{POD_ADDRESS}:8081", input=json.dumps(asked))
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    assert answers["live"] == answers["ready"] == [True, True]
    digest = json.loads((release / "manifest.json").read_text())["digest"]
    assert answers["metadata"]["versions"] == [digest[:12]]
    over_http, over_grpc = (answers[protocol][0]["outputs"]["relevance"] for protocol in ("http", "grpc"))
    assert over_http == pytest.approx(over_grpc, abs=1e-6) and 0 < over_http[0] < 1


def test_only_public_ports_are_reached_from_outside(pod: Pod, manifests: list[dict[str, Any]]) -> None:
    triton = flags(pod.container("kserve-container"))
    assert pod.status(int(triton["--http-port"]), "/v2/health/ready", "127.0.0.1") == 200, "from within the pod"
    assert pod.status(int(triton["--http-port"]), "/v2/health/ready") == 0
    base = render("base")  # the overlay for one machine has no Prometheus
    (monitor,) = (m for m in base if m["kind"] == "PodMonitor")
    ports = {port["name"]: port["containerPort"] for c in pod.spec["containers"] for port in c["ports"]}
    for endpoint in monitor["spec"]["podMetricsEndpoints"]:
        assert pod.status(ports[endpoint["port"]], endpoint["path"]) == 200


def test_containers_are_as_bounded_as_the_manifest_says(pod: Pod, docker_host: str) -> None:
    for container in pod.spec["containers"]:
        script = "id -u; id -G; touch /opt/x 2>&1 || true; grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/1/status"
        said = docker("exec", f"{pod.name}-{container['name']}", "sh", "-c", script, host=docker_host)
        context = container["securityContext"]
        assert said.split()[0] == str(context["runAsUser"])
        assert str(pod.spec["securityContext"]["fsGroup"]) in said.splitlines()[1].split()
        assert "Read-only file system" in said
        assert "CapEff:\t0000000000000000" in said and "NoNewPrivs:\t1" in said and "Seccomp:\t2" in said


def test_a_killed_triton_makes_the_pod_unready_until_it_is_started_anew(pod: Pod) -> None:
    pod.signal("kserve-container", "KILL")
    assert pod.wait_until(ready=False) < 10
    assert pod.probe("transformer-container", "livenessProbe"), "the transformer lives on"
    pod.restart("kserve-container")
    pod.wait_until(ready=True)


_ASK = """
import json, pathlib, sys, threading, time
import httpx
url, stop, said = sys.argv[1], pathlib.Path(sys.argv[2]), []
pairs = 200
inputs = {"market": "ID", "query": "kaos hitam", "title": "kaos hitam polos"}
body = {"inputs": [{"name": n, "datatype": "BYTES", "shape": [pairs], "data": [t] * pairs} for n, t in inputs.items()]}
def ask():
    while not stop.exists():
        sent = time.time()
        try:
            outcome = httpx.post(url + "/v2/models/relevance/infer", json=body, timeout=60).status_code
        except httpx.HTTPError as error:
            outcome = repr(error)
        said.append([sent, time.time(), outcome])
        if len(said) == 1:
            print("asking", flush=True)
threads = [threading.Thread(target=ask) for _ in range(4)]
[t.start() for t in threads]
[t.join() for t in threads]
print(json.dumps(said))
"""


def test_a_pod_that_is_deleted_answers_all_that_was_asked(pod: Pod, tmp_path: Path) -> None:
    """Clients ask until just before the transformer is told to end: a cluster's routes follow with a delay.

    Triton stands still meanwhile, so that what was asked last is under way at that time. The pod ends here: what needs
    it comes before.
    """
    notice = pod.container("transformer-container")["lifecycle"]["preStop"]["sleep"]["seconds"]
    stop = tmp_path / "stop"
    command = ["nsenter", f"--net=/proc/{pod.pid}/ns/net", sys.executable, "-c", _ASK, URL, str(stop)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as asking:
        assert asking.stdout is not None
        assert asking.stdout.readline() == "asking\n"
        threading.Timer(notice - 2, pod.signal, ("kserve-container", "STOP")).start()
        threading.Timer(notice - 1, stop.touch).start()
        threading.Timer(notice + 3, pod.signal, ("kserve-container", "CONT")).start()
        begun = time.time()
        codes = pod.stop()
        took = time.time() - begun
        answers = json.loads(asking.stdout.read())
    told = begun + notice
    under_way = [ended - told for sent, ended, _ in answers if sent < told < ended]
    print(f"{len(answers)} answers, {len(under_way)} to what was under way; ended after {took:.1f} s with {codes}")
    assert len(under_way) == 4 and min(under_way) > 2
    assert {outcome for *_, outcome in answers} == {200}
    assert codes == {"kserve-container": 0, "transformer-container": 0}
    assert took < pod.spec["terminationGracePeriodSeconds"]


@pytest.mark.parametrize("where", ["pod", "container", "volume"])
def test_a_field_that_nobody_carries_over_is_an_error(
    docker_host: str, pod_images: None, template: dict[str, Any], release: Path, where: str
) -> None:
    changed = json.loads(json.dumps(template))
    spec = changed["spec"]
    place = {"pod": spec, "container": spec["containers"][0], "volume": spec["volumes"][0]}[where]
    place["somethingNew"] = True
    folders = {"kserve-provision-location": release}
    with (
        pytest.raises(Unknown, match="somethingNew"),
        running_pod(docker_host, "archipelago-new", changed, BASE, folders),
    ):
        pass
