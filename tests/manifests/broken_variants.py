"""Manifests that are wrong, each in one way, and what must be said of them: the one list of what is known to be caught.

A variant is a change of a rendering (the base, unless it names an overlay) and a part of a finding.
"""

from collections.abc import Callable
from typing import Any

Manifests = list[dict[str, Any]]
Spoil = Callable[[Manifests], object]
BASE, DEV, PRODUCTION = "base", "overlays/dev", "overlays/production"


def one(manifests: Manifests, kind: str, name: str | None = None) -> dict[str, Any]:
    return next(m for m in manifests if m["kind"] == kind and name in (None, m["metadata"]["name"]))


def predictor(manifests: Manifests) -> dict[str, Any]:
    return one(manifests, "InferenceService")["spec"]["predictor"]


def triton(manifests: Manifests) -> dict[str, Any]:
    return one(manifests, "ServingRuntime")["spec"]["containers"][0]


def transformer(manifests: Manifests) -> dict[str, Any]:
    containers: list[dict[str, Any]] = predictor(manifests)["containers"]
    return next(container for container in containers if container["name"] == "transformer-container")


def policy(manifests: Manifests, name: str) -> dict[str, Any]:
    found: dict[str, Any] = one(manifests, "NetworkPolicy", name)["spec"]
    return found


def shared_memory(manifests: Manifests) -> dict[str, Any]:
    volumes = one(manifests, "ServingRuntime")["spec"]["volumes"]
    found: dict[str, Any] = next(v for v in volumes if v["name"] == "shared-memory")["emptyDir"]
    return found


def metric(manifests: Manifests) -> dict[str, Any]:
    found: dict[str, Any] = predictor(manifests)["autoScaling"]["metrics"][0]["external"]
    return found


def reset(container: dict[str, Any], flag: str, value: str) -> None:
    """Give a flag that is there another value."""
    at = next(n for n, argument in enumerate(container["args"]) if argument.startswith(f"{flag}="))
    container["args"][at] = f"{flag}={value}"


VARIANTS: dict[str, tuple[Spoil, str] | tuple[Spoil, str, str]] = {
    # What a schema refuses.
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
    # What agrees with its schema, and with nothing else.
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
        "--model-repository is /models",
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
        "binds ServiceAccount archipelago/default",
    ),
    "token in a serving pod": (lambda m: predictor(m).pop("automountServiceAccountToken"), "mounts an API token"),
    "namespace not restricted": (
        lambda m: one(m, "Namespace")["metadata"]["labels"].update({"pod-security.kubernetes.io/enforce": "baseline"}),
        "enforce is not restricted",
    ),
    "outside the namespace": (lambda m: one(m, "Role")["metadata"].update(namespace="default"), "outside namespace"),
    "same name twice": (lambda m: m.append(one(m, "Role")), "Role/archipelago-deployer: 2 times"),
    # Flags, ports and paths.
    "metrics on another port": (
        lambda m: reset(triton(m), "--metrics-port", "9002"),
        "--metrics-port is 9002, port metrics is 8002",
    ),
    "REST on another port": (
        lambda m: reset(transformer(m), "--http_port", "8090"),
        "--http_port is 8090, port http is 8080",
    ),
    "gRPC on another port": (
        lambda m: reset(transformer(m), "--grpc_port", "8091"),
        "--grpc_port is 8091, port grpc is 8081",
    ),
    "two servers on one port": (lambda m: reset(triton(m), "--http-port", "8001"), "two of its flags open one port"),
    "port order reversed": (lambda m: transformer(m)["ports"].reverse(), "port 80 and the next lead to"),
    "port that no flag opens": (
        lambda m: transformer(m)["ports"].append({"name": "debug", "containerPort": 5678}),
        "ports ['debug'] of transformer-container",
    ),
    "transformer on loopback": (lambda m: reset(transformer(m), "--host", "127.0.0.1"), "where nobody reaches it"),
    "metrics on loopback": (
        lambda m: reset(triton(m), "--metrics-address", "127.0.0.1"),
        "--metrics-address is 127.0.0.1",
    ),
    "another protocol with Triton": (
        lambda m: reset(transformer(m), "--predictor_protocol", "v2"),
        "speaks v2 with Triton",
    ),
    "folder beside the model repository": (
        lambda m: reset(triton(m), "--model-repository", "/mnt/models"),
        "--model-repository is /mnt/models, the release's is /mnt/models/triton",
    ),
    "transformer that reads another folder": (
        lambda m: reset(transformer(m), "--release", "/mnt/release"),
        "--release is /mnt/release",
    ),
    "ready when alive": (
        lambda m: transformer(m)["readinessProbe"]["httpGet"].update(path="/v2/health/live"),
        "readinessProbe of transformer-container asks path /v2/health/live",
    ),
    "alive when ready": (
        lambda m: transformer(m)["livenessProbe"]["httpGet"].update(path="/v2/health/ready"),
        "livenessProbe of transformer-container asks path",
    ),
    "no startup probe": (lambda m: triton(m).pop("startupProbe"), "startupProbe of kserve-container asks path None"),
    "probe of the gRPC port": (
        lambda m: transformer(m)["readinessProbe"]["httpGet"].update(port=8081),
        "asks port 8081, not http",
    ),
    "probe that outlasts its periods": (
        lambda m: transformer(m)["livenessProbe"].update(timeoutSeconds=60),
        "waits longer than two of its periods",
    ),
    "state in no volume": (
        lambda m: reset(transformer(m), "--state", "/srv/state"),
        "--state is '/srv/state', which cannot",
    ),
    "state that is read-only": (
        lambda m: transformer(m)["volumeMounts"][0].update(readOnly=True),
        "--state is '/var/lib/archipelago', which cannot be written",
    ),
    "no home": (lambda m: triton(m)["env"][0].update(value="/root"), "HOME is '/root', which cannot be written"),
    # Bounds.
    "limit below its request": (
        lambda m: triton(m)["resources"]["limits"].update(memory="1Gi"),
        "asks for 4Gi of memory, may have 1Gi",
        DEV,
    ),
    "more GPUs allowed than asked for": (
        lambda m: triton(m)["resources"]["limits"].update({"nvidia.com/gpu": "2"}),
        "a device is asked for as it is limited",
        PRODUCTION,
    ),
    "GPU limited and not asked for": (
        lambda m: triton(m)["resources"]["requests"].pop("nvidia.com/gpu"),
        "asks for None of nvidia.com/gpu",
        PRODUCTION,
    ),
    "GPU without its nodes": (
        lambda m: one(m, "ServingRuntime")["spec"].pop("tolerations"),
        "tolerates their taint: False",
        PRODUCTION,
    ),
    "GPU nodes without a GPU": (
        lambda m: one(m, "ServingRuntime")["spec"].update(nodeSelector={"nvidia.com/gpu.present": "true"}),
        "asks for a GPU: False, chooses such nodes: True",
        DEV,
    ),
    "tiny shared memory": (lambda m: shared_memory(m).update(sizeLimit="1Ki"), "/dev/shm of 1024 bytes"),
    "shared memory beyond the container's": (
        lambda m: shared_memory(m).update(sizeLimit="64Gi"),
        "at most half 8589934592",
    ),
    "shared memory on disk": (lambda m: shared_memory(m).pop("medium"), "no sized memory volume"),
    "more replicas at least than at most": (
        lambda m: predictor(m).update(minReplicas=9),
        "from 9 to 8 replicas",
        PRODUCTION,
    ),
    "none at all": (lambda m: predictor(m).update(minReplicas=0), "from 0 to"),
    "budget that lets all go": (
        lambda m: one(m, "PodDisruptionBudget")["spec"].update(maxUnavailable=2),
        "2 replicas, of which a budget lets 2 go",
        PRODUCTION,
    ),
    "budget of other pods": (
        lambda m: (
            one(m, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"].clear()
            or one(m, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"].update(app="search")
        ),
        "PodDisruptionBudget/archipelago: its selector",
        PRODUCTION,
    ),
    "spread of other pods": (
        lambda m: predictor(m)["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"].update(app="search"),
        "spread by labels that it doesn't have",
        PRODUCTION,
    ),
    "scaled by CPU": (
        lambda m: one(m, "InferenceService")["metadata"]["annotations"].pop("serving.kserve.io/autoscalerClass"),
        "scaled by hpa, which would follow the CPU",
        PRODUCTION,
    ),
    "scaler without a metric": (lambda m: predictor(m).pop("autoScaling"), "scaled by keda with 0 metrics", PRODUCTION),
    "target that KServe does not hand on": (
        lambda m: metric(m)["target"].update(type="AverageValue", averageValue=metric(m)["target"].pop("value")),
        "KServe hands on `value` alone",
        PRODUCTION,
    ),
    "query of nothing": (lambda m: metric(m)["metric"].update(query="up"), "reads no metric of ours", PRODUCTION),
    "range without a scaler": (
        lambda m: predictor(m).update(maxReplicas=4),
        "from 1 to 4 replicas, and nothing that scales it",
        DEV,
    ),
    # Names, mounts and images.
    "mount path twice": (
        lambda m: triton(m)["volumeMounts"].append({"name": "triton-tmp", "mountPath": "/dev/shm"}),
        "/dev/shm mounted twice",
    ),
    "mount over the release": (
        lambda m: transformer(m)["volumeMounts"].append({"name": "state", "mountPath": "/mnt/models"}),
        "/mnt/models mounted twice",
    ),
    "volume twice": (
        lambda m: predictor(m)["volumes"].append({"name": "state", "emptyDir": {"sizeLimit": "1Gi"}}),
        "volume state declared twice",
    ),
    "volume mounted nowhere": (
        lambda m: predictor(m)["volumes"].append({"name": "spare", "emptyDir": {"sizeLimit": "1Gi"}}),
        "volume spare is mounted nowhere",
    ),
    "volume without a size": (lambda m: predictor(m)["volumes"][0].update(emptyDir={}), "volume state without a size"),
    "variable twice": (
        lambda m: transformer(m)["env"].append({"name": "PROMETHEUS_MULTIPROC_DIR", "value": "/tmp"}),
        "variable PROMETHEUS_MULTIPROC_DIR set twice",
    ),
    "data image in the serving pod": (
        lambda m: transformer(m).update(image="archipelago-data:0.1.0"),
        "'python -m serving.transformer' in image 'archipelago-data:0.1.0'",
    ),
    "CPU's Triton image for another command": (
        lambda m: triton(m).update(command=["sh"]),
        "unknown command 'sh'",
    ),
    "invalid label": (
        lambda m: predictor(m)["labels"].update({"archipelago/team": "search & ranking"}),
        "label archipelago/team: 'search & ranking'",
    ),
    "invalid name": (
        lambda m: one(m, "Role")["metadata"].update(name="Deployer_Role"),
        "no name that Kubernetes takes",
    ),
    "port name too long": (
        lambda m: transformer(m)["ports"][0].update(name="rest-of-the-transformer"),
        "is no name of a container, volume or port",
    ),
    "release over plain HTTP": (
        lambda m: (
            predictor(m)["model"].update(storageUri="http://archipelago/000000000000"),
            one(m, "ClusterStorageContainer")["spec"]["supportedUriFormats"].append({"prefix": "http://"}),
        ),
        "http://archipelago/000000000000 names no release",
    ),
    "release without its digest": (
        lambda m: predictor(m)["model"].update(storageUri="s3://archipelago-releases/latest"),
        "s3://archipelago-releases/latest names no release",
    ),
    # Traffic.
    "another port for clients": (
        lambda m: policy(m, "allow-inference")["ingress"][0]["ports"].append({"port": 22, "protocol": "TCP"}),
        "the page doesn't allow",
    ),
    "protocol HTTP": (
        lambda m: policy(m, "allow-inference")["ingress"][0]["ports"][0].update(protocol="HTTP"),
        "protocol HTTP",
    ),
    "no such network": (
        lambda m: policy(m, "allow-release-download")["egress"][0]["to"][0]["ipBlock"].update(cidr="10.0.0.0/99"),
        "no network:",
        PRODUCTION,
    ),
    "exception outside its block": (
        lambda m: policy(m, "allow-release-download")["egress"][0]["to"][0]["ipBlock"].update(cidr="10.0.0.0/8"),
        "169.254.0.0/16 is not in 10.0.0.0/8",
        PRODUCTION,
    ),
    "metadata address within reach": (
        lambda m: policy(m, "allow-release-download")["egress"][0]["to"][0]["ipBlock"].pop("except"),
        "the page doesn't allow",
        PRODUCTION,
    ),
    "port 0": (
        lambda m: policy(m, "allow-dns")["egress"][0]["ports"][0].update(port=0),
        "NetworkPolicy/allow-dns: port 0",
    ),
    "ingress rules of an egress policy": (
        lambda m: policy(m, "allow-inference").update(policyTypes=["Egress"]),
        "rules of ['Ingress'], types ['Egress']",
    ),
    "allowance taken away": (
        lambda m: m.remove(one(m, "NetworkPolicy", "allow-online-store")),
        "the page promises",
        PRODUCTION,
    ),
    "every namespace may ask": (
        lambda m: policy(m, "allow-inference")["ingress"][0]["from"][0].update(
            namespaceSelector={"matchLabels": {"kubernetes.io/metadata.name": "default"}}
        ),
        "the page doesn't allow",
        DEV,
    ),
    "monitor of no port": (
        lambda m: one(m, "PodMonitor")["spec"]["podMetricsEndpoints"][0].update(port="rest"),
        "scrapes port rest, which no pod has",
    ),
    "monitor of another path": (
        lambda m: one(m, "PodMonitor")["spec"]["podMetricsEndpoints"][0].update(path="/"),
        "PodMonitor/archipelago: scrapes /",
    ),
    "Service that leads nowhere": (
        lambda m: one(m, "Service", "object-store")["spec"]["ports"][0].update(targetPort="http"),
        "Service/object-store: leads to port http",
        DEV,
    ),
    "Service of no pod": (
        lambda m: one(m, "Service", "object-store")["spec"]["selector"].update(app="store"),
        "Service/object-store: its selector",
        DEV,
    ),
    # Rights.
    "subject of another namespace": (
        lambda m: one(m, "RoleBinding")["subjects"][0].update(namespace="kubeflow"),
        "binds ServiceAccount kubeflow/archipelago-deployer",
    ),
    "binding of a ClusterRole": (
        lambda m: one(m, "RoleBinding")["roleRef"].update(kind="ClusterRole", name="cluster-admin"),
        "binds no role of ours",
    ),
    "group instead of an account": (
        lambda m: one(m, "RoleBinding")["subjects"][0].update(kind="Group"),
        "binds Group",
    ),
    "pod of no account": (
        lambda m: predictor(m).update(serviceAccountName="default"),
        "no service account 'default'",
    ),
    "right on everything": (lambda m: one(m, "Role")["rules"][0].update(resources=["*"]), "a wildcard"),
    # Found by looking for what the rules above let pass.
    "every namespace there is": (
        lambda m: policy(m, "allow-inference")["ingress"][0]["from"][0].update(namespaceSelector={}),
        "the page doesn't allow",
    ),
    "range of ports": (
        lambda m: policy(m, "allow-inference")["ingress"][0]["ports"][0].update(endPort=9000),
        "8080-9000/TCP",
    ),
    "invalid label of the runtime": (
        lambda m: one(m, "ServingRuntime")["spec"].update(labels={"team": "search & ranking"}),
        "label team: 'search & ranking'",
    ),
    "runtime's label in place of ours": (
        lambda m: (
            predictor(m)["labels"].clear(),
            one(m, "ServingRuntime")["spec"].update(labels={"app.kubernetes.io/component": "model"}),
        ),
        "NetworkPolicy/allow-inference: its selector",
    ),
    "invalid annotation": (
        lambda m: one(m, "InferenceService")["metadata"]["annotations"].update({"a/b/c": "x"}),
        "annotation a/b/c",
    ),
    "flag twice": (lambda m: transformer(m)["args"].append("--workers=4"), "flags ['--workers'] of"),
    "probe by HTTPS": (
        lambda m: transformer(m)["readinessProbe"]["httpGet"].update(scheme="HTTPS"),
        "readinessProbe asks by HTTPS",
    ),
    "probe that fails at once": (lambda m: triton(m)["livenessProbe"].update(failureThreshold=0), "fails after none"),
    "port for datagrams": (lambda m: transformer(m)["ports"][0].update(protocol="UDP"), "port 8080 for UDP"),
    "GPU for the transformer": (
        lambda m: [
            transformer(m)["resources"][bound].update({"nvidia.com/gpu": "1"}) for bound in ("requests", "limits")
        ],
        "transformer-container: a GPU that nothing in it uses",
        PRODUCTION,
    ),
    "taint of another effect tolerated": (
        lambda m: one(m, "ServingRuntime")["spec"]["tolerations"][0].update(effect="PreferNoSchedule"),
        "tolerates their taint: False",
        PRODUCTION,
    ),
    "metric of the HPA beside KEDA": (
        lambda m: predictor(m).update(scaleMetric="cpu", scaleTarget=80),
        "a metric of the HPA beside keda",
        PRODUCTION,
    ),
    "replicas that all go at once": (
        lambda m: predictor(m).update(deploymentStrategy={"type": "Recreate"}),
        "2 replicas that all go before a new one comes",
        PRODUCTION,
    ),
    "pod as root": (lambda m: predictor(m)["securityContext"].update(runAsUser=0), "its own user is 0"),
    "release outside its folder": (
        lambda m: predictor(m)["model"].update(storageUri="s3://archipelago-releases/../000000000000"),
        "names no release",
    ),
}
