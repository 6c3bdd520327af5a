"""What `kubectl kustomize` renders is valid, says the same thing in each place, and is safe to apply."""

import copy
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.contracts.errors import BadInput
from serving.local.triton_server import triton_environment
from serving.observe.pseudonym import KEY_VARIABLE
from tests.manifests.pods import Manifest, pods, runtime_of
from tests.manifests.rendering import MANIFESTS, render
from tests.manifests.rules import RULES, flags
from tests.manifests.schemas import Schemas

Manifests = list[dict[str, Any]]


def test_every_manifest_is_valid(manifests: Manifests, schemas: Schemas) -> None:
    assert [problem for manifest in manifests for problem in schemas.problems(manifest)] == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule_holds(manifests: Manifests, rule: Callable[[Sequence[Manifest]], list[str]]) -> None:
    assert rule(manifests) == []


def test_rules_have_pods_to_judge(manifests: Manifests) -> None:
    judged = [[c["name"] for c in pod.containers()] for pod in pods(manifests)]
    serving = ["storage-initializer", "kserve-container", "transformer-container"]
    assert judged in ([serving], [["seaweedfs"], serving])


def test_every_network_policy_has_a_file_of_its_own_name() -> None:
    for path in sorted((MANIFESTS / "base" / "network").glob("*.yaml")):
        documents = list(yaml.safe_load_all(path.read_text()))
        assert [(d["kind"], d["metadata"]["name"]) for d in documents] == [("NetworkPolicy", path.stem)]


def test_gpu_overlay_asks_for_a_gpu_and_its_configurations(manifests: Manifests) -> None:
    service = one(manifests, "InferenceService")
    runtime = runtime_of(service, manifests)
    assert runtime is not None
    container = runtime["spec"]["containers"][0]
    has_gpu = "nvidia.com/gpu" in container["resources"]["limits"]
    assert has_gpu == ("--model-config-name=cpu" not in container["args"])
    loaded = [argument.partition("=")[2] for argument in container["args"] if argument.startswith("--load-model=")]
    assert loaded == (["relevance", "ranker", "search"] if has_gpu else ["*"])
    image = re.split("[:@]", container["image"].rpartition("/")[2])[0]
    assert image == ("archipelago-triton-gpu" if has_gpu else "archipelago-triton")
    transformer = next(c for c in service["spec"]["predictor"]["containers"] if c["name"] == "transformer-container")
    assert flags(transformer).get("--micro_batch") == ("1000" if has_gpu else None)


def test_transformer_knows_its_flags(manifests: Manifests) -> None:
    containers = one(manifests, "InferenceService")["spec"]["predictor"]["containers"]
    transformer = next(c for c in containers if c["name"] == "transformer-container")
    python, *module = transformer["command"]
    assert python == "python"
    shown = _help_of(*module)
    assert [flag for flag in flags(transformer) if flag not in shown] == []


@cache
def _help_of(*module: str) -> str:
    command = [sys.executable, *module, "--help"]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


def test_the_pages_patch_turns_the_serving_log_on(tmp_path: Path, schemas: Schemas) -> None:
    page = (MANIFESTS / "README.md").read_text(encoding="utf-8")
    (patches,) = re.findall(r"```yaml\n(patches:\n[^`]*serving-log[^`]*)```", page)
    shutil.copytree(MANIFESTS / "base", tmp_path / "base")
    (tmp_path / "kustomization.yaml").write_text(f"resources: [base]\n{patches}", encoding="utf-8")
    manifests = render(str(tmp_path))
    assert [problem for manifest in manifests for problem in schemas.problems(manifest)] == []
    assert [problem for rule in RULES for problem in rule(manifests)] == []
    transformer = one(manifests, "InferenceService")["spec"]["predictor"]["containers"][0]
    assert transformer["name"] == "transformer-container"
    assert flags(transformer)["--log_folder"] in [mount["mountPath"] for mount in transformer["volumeMounts"]]
    assert KEY_VARIABLE in [variable["name"] for variable in transformer["env"]]


def test_triton_knows_its_flags(manifests: Manifests) -> None:
    try:
        venv = triton_environment()
    except BadInput as reason:
        pytest.skip(str(reason))
    server = next(venv.glob("lib/python3.*/site-packages/pytriton/tritonserver"))
    libraries = subprocess.run(
        [venv / "bin" / "python", "-c", "import sysconfig; print(sysconfig.get_config_var('LIBDIR'))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    shown = subprocess.run(
        [server / "bin" / "tritonserver", "--help"],
        env={"LD_LIBRARY_PATH": f"{server.parents[1] / 'nvidia_pytriton.libs'}:{libraries}"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    known = shown.stdout + shown.stderr
    assert "--model-repository" in known
    assert [
        flag for flag in flags(one(manifests, "ServingRuntime")["spec"]["containers"][0]) if flag not in known
    ] == []


Spoil = Callable[[Manifests], None]


def one(manifests: Manifests, kind: str, name: str | None = None) -> dict[str, Any]:
    return next(m for m in manifests if m["kind"] == kind and name in (None, m["metadata"]["name"]))


def predictor(manifests: Manifests) -> dict[str, Any]:
    return one(manifests, "InferenceService")["spec"]["predictor"]


def triton(manifests: Manifests) -> dict[str, Any]:
    return one(manifests, "ServingRuntime")["spec"]["containers"][0]


INVALID: dict[str, tuple[Spoil, str]] = {
    "unknown field of a custom resource": (
        lambda m: predictor(m).update(minReplica=1),
        "'minReplica' was unexpected",
    ),
    "unknown field deep in a custom resource": (
        lambda m: triton(m)["securityContext"].update(runAsNonRot=True),
        "'runAsNonRot' was unexpected",
    ),
    "wrong type in a custom resource": (
        lambda m: predictor(m).update(minReplicas="one"),
        "spec.predictor.minReplicas: 'one' is not of type 'integer'",
    ),
    "field of a custom resource missing": (
        lambda m: triton(m).pop("name"),
        "'name' is a required property",
    ),
    "unknown field of a core kind": (
        lambda m: one(m, "NetworkPolicy")["spec"].update(podSelectors={}),
        "'podSelectors' was unexpected",
    ),
    "wrong type in a core kind": (
        lambda m: one(m, "Role")["rules"][0].update(verbs="get"),
        "rules.0.verbs: 'get' is not of type",
    ),
    "unknown field of metadata": (
        lambda m: one(m, "InferenceService")["metadata"].update(label={}),
        "'label' was unexpected",
    ),
    "number as an annotation": (
        lambda m: one(m, "InferenceService")["metadata"]["annotations"].update(port=8080),
        "metadata.annotations.port",
    ),
    "unknown kind of a known group": (
        lambda m: one(m, "InferenceService").update(kind="InferenceServer"),
        "no schema for serving.kserve.io/v1beta1 InferenceServer",
    ),
    "unknown version of a known kind": (
        lambda m: one(m, "InferenceService").update(apiVersion="serving.kserve.io/v1"),
        "no schema for serving.kserve.io/v1 InferenceService",
    ),
    "unknown core kind": (
        lambda m: one(m, "ServiceAccount").update(kind="ServiceAcount"),
        "Couldn't find schema",
    ),
    "unknown field of a documented kind": (
        lambda m: one(m, "ClusterStorageContainer")["spec"].update(supportedUris=[]),
        "'supportedUris' was unexpected",
    ),
    "unknown field of a documented kind's container": (
        lambda m: one(m, "ClusterStorageContainer")["spec"]["container"]["securityContext"].update(runAsRoot=False),
        "'runAsRoot' was unexpected",
    ),
    "no apiVersion": (
        lambda m: one(m, "Role").pop("apiVersion"),
        "no 'apiVersion'",
    ),
}


@pytest.mark.parametrize("case", INVALID)
def test_an_invalid_manifest_is_refused(base_manifests: Manifests, schemas: Schemas, case: str) -> None:
    spoil, expected = INVALID[case]
    spoiled = copy.deepcopy(base_manifests)
    spoil(spoiled)
    problems = [problem for manifest in spoiled for problem in schemas.problems(manifest)]
    assert any(expected in problem for problem in problems), problems


UNSAFE: dict[str, tuple[Spoil, str]] = {
    "runtime of another name": (lambda m: predictor(m)["model"].update(runtime="triton"), "no ServingRuntime 'triton'"),
    "format the runtime doesn't take": (
        lambda m: predictor(m)["model"]["modelFormat"].update(name="onnx"),
        "doesn't take format",
    ),
    "protocol the runtime doesn't speak": (
        lambda m: predictor(m)["model"].update(protocolVersion="v1"),
        "doesn't speak v1",
    ),
    "transformer asks another port": (lambda m: triton(m)["args"].append("--grpc-port=9000"), "Triton listens on"),
    "Triton's REST for everybody": (
        lambda m: triton(m)["args"].append("--http-address=0.0.0.0"),
        "--http-address is 0.0.0.0",
    ),
    "models that cannot be loaded anew": (
        lambda m: triton(m)["args"].append("--model-control-mode=none"),
        "cannot load a model anew",
    ),
    "Triton that ends first": (lambda m: triton(m).pop("lifecycle"), "ends before the slowest request"),
    "transformer that ends at once": (
        lambda m: predictor(m)["containers"][0].pop("lifecycle"),
        "while it is still sent requests",
    ),
    "no time to end": (lambda m: predictor(m).pop("terminationGracePeriodSeconds"), "needs more than 50 s to end"),
    "another release for Triton": (
        lambda m: triton(m)["args"].append("--model-repository=/models"),
        "read different releases",
    ),
    "serverless": (
        lambda m: one(m, "InferenceService")["metadata"]["annotations"].clear(),
        "deployment mode is not Standard",
    ),
    "root": (lambda m: triton(m)["securityContext"].update(runAsUser=0), "runs as user 0"),
    "escalation": (lambda m: triton(m)["securityContext"].pop("allowPrivilegeEscalation"), "may escalate"),
    "capabilities": (lambda m: triton(m)["securityContext"].pop("capabilities"), "keeps capabilities"),
    "host network": (lambda m: predictor(m).update(hostNetwork=True), "hostNetwork is set"),
    "host path": (
        lambda m: predictor(m)["volumes"].append({"name": "host", "hostPath": {"path": "/"}}),
        "volume host: hostPath",
    ),
    "writable root": (
        lambda m: predictor(m)["containers"][0]["securityContext"].pop("readOnlyRootFilesystem"),
        "root file system is writable",
    ),
    "no memory limit": (lambda m: triton(m)["resources"]["limits"].pop("memory"), "no limits of memory"),
    "floating image": (lambda m: triton(m).update(image="triton:latest"), "is not pinned"),
    "image without a tag, registry with a port": (
        lambda m: triton(m).update(image="registry:5000/triton"),
        "is not pinned",
    ),
    "mount of no volume": (lambda m: predictor(m)["volumes"].clear(), "no volume state"),
    "probe of no port": (lambda m: triton(m)["livenessProbe"]["httpGet"].update(port=8005), "asks port 8005"),
    "port taken twice": (
        lambda m: triton(m)["ports"].append({"name": "again", "containerPort": 8080}),
        "port 8080 taken twice",
    ),
    "default shared memory": (
        lambda m: one(m, "ServingRuntime")["spec"]["volumes"][0]["emptyDir"].pop("sizeLimit"),
        "no sized memory volume",
    ),
    "selector without a pod": (
        lambda m: predictor(m)["labels"].clear(),
        "NetworkPolicy/allow-inference: its selector",
    ),
    "no default deny": (
        lambda m: m.remove(one(m, "NetworkPolicy", "default-deny")),
        "NetworkPolicy/default-deny: absent",
    ),
    "default deny of ingress alone": (
        lambda m: one(m, "NetworkPolicy", "default-deny")["spec"].update(policyTypes=["Ingress"]),
        "doesn't deny all",
    ),
    "allowance from everywhere": (
        lambda m: one(m, "NetworkPolicy", "allow-inference")["spec"]["ingress"][0].pop("from"),
        "without peers",
    ),
    "right on every service": (lambda m: one(m, "Role")["rules"][0].pop("resourceNames"), "without resourceNames"),
    "right to delete": (lambda m: one(m, "Role")["rules"][0]["verbs"].append("delete"), "verbs ['delete'] on"),
    "right to change the Deployment": (
        lambda m: one(m, "Role")["rules"][1]["verbs"].append("patch"),
        "verbs ['patch'] on deployments",
    ),
    "KServe's own init container": (
        lambda m: predictor(m).pop("storageContainerName"),
        "container storage-initializer may escalate",
    ),
    "storage container that isn't here": (
        lambda m: m.remove(one(m, "ClusterStorageContainer")),
        "no storage container 'archipelago'",
    ),
    "storage container of another bucket": (
        lambda m: predictor(m)["model"].update(storageUri="s3://models/000000000000"),
        "doesn't take s3://models/",
    ),
    "init container as root": (
        lambda m: one(m, "ClusterStorageContainer")["spec"]["container"]["securityContext"].update(runAsUser=0),
        "container storage-initializer runs as user 0",
    ),
    "kind of the cluster in a namespace": (
        lambda m: one(m, "ClusterStorageContainer")["metadata"].update(namespace="archipelago"),
        "ClusterStorageContainer/archipelago: its kind has no namespace",
    ),
    "right on a service that isn't here": (
        lambda m: one(m, "Role")["rules"][0].update(resourceNames=["archipelago2"]),
        "isn't here",
    ),
    "binding of another account": (
        lambda m: one(m, "RoleBinding")["subjects"][0].update(name="default"),
        "binds ServiceAccount default",
    ),
    "token in a serving pod": (lambda m: predictor(m).pop("automountServiceAccountToken"), "mounts an API token"),
    "namespace not restricted": (
        lambda m: one(m, "Namespace")["metadata"]["labels"].update({"pod-security.kubernetes.io/enforce": "baseline"}),
        "enforce is not restricted",
    ),
    "outside the namespace": (lambda m: one(m, "Role")["metadata"].update(namespace="default"), "outside namespace"),
    "same name twice": (lambda m: m.append(one(m, "Role")), "Role/archipelago-deployer: 2 times"),
}


@pytest.mark.parametrize("case", UNSAFE)
def test_an_unsafe_or_inconsistent_manifest_is_refused(base_manifests: Manifests, case: str) -> None:
    spoil, expected = UNSAFE[case]
    spoiled = copy.deepcopy(base_manifests)
    spoil(spoiled)
    problems = [problem for rule in RULES for problem in rule(spoiled)]
    assert any(expected in problem for problem in problems), problems
