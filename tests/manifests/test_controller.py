"""The rules by which KServe's controller is rendered, each on a service made for it."""

from typing import Any

from tests.manifests.controller import made_by_kserve, strategic_merge


def cluster(**predictor: Any) -> list[dict[str, Any]]:
    """A service of one name, and its runtime."""
    runtime = {
        "containers": [
            {"name": "kserve-container", "image": "triton:1", "args": ["--a"], "env": [{"name": "A", "value": "1"}]}
        ],
        "volumes": [{"name": "shm", "emptyDir": {"medium": "Memory"}}],
        "tolerations": [{"key": "gpu"}],
        "supportedModelFormats": [{"name": "triton"}],
    }
    model = {"runtime": "runtime", "modelFormat": {"name": "triton"}}
    predictor = {"model": model | predictor.pop("model", {}), **predictor}
    return [
        {"kind": "ServingRuntime", "metadata": {"name": "runtime"}, "spec": runtime},
        {
            "kind": "InferenceService",
            "metadata": predictor.pop("metadata", {"name": "shop"}),
            "spec": {"predictor": predictor},
        },
    ]


def made(kind: str, **predictor: Any) -> dict[str, Any]:
    (only,) = (manifest for manifest in made_by_kserve(cluster(**predictor)) if manifest["kind"] == kind)
    return dict(only["spec"])


def test_lists_are_merged_by_their_keys_and_others_replaced() -> None:
    base = {"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}], "command": ["x"], "limits": {"cpu": 1}}
    over = {"env": [{"name": "B", "value": "3"}, {"name": "C", "value": "4"}], "command": ["y"], "limits": {"gpu": 1}}
    assert strategic_merge(base, over) == {
        "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "3"}, {"name": "C", "value": "4"}],
        "command": ["y"],
        "limits": {"cpu": 1, "gpu": 1},
    }
    assert base["env"][1] == {"name": "B", "value": "2"}, "what is merged stays as it was"


def test_a_models_settings_lie_over_the_runtimes() -> None:
    model = {"args": ["--b"], "env": [{"name": "A", "value": "2"}], "image": "triton:2"}
    pod = made("Deployment", model=model, volumes=[{"name": "state", "emptyDir": {}}])["template"]["spec"]
    (container,) = pod["containers"]
    assert (container["args"], container["env"]) == (["--a", "--b"], [{"name": "A", "value": "2"}])
    assert (container["name"], container["image"]) == ("kserve-container", "triton:2")
    assert [volume["name"] for volume in pod["volumes"]] == ["shm", "state"]
    assert pod["tolerations"] == [{"key": "gpu"}]
    assert "supportedModelFormats" not in pod and "model" not in pod


def test_a_release_is_fetched_first_and_read_by_both_containers() -> None:
    others = [{"name": "transformer-container"}, {"name": "sidecar"}]
    model = {"storageUri": "s3://bucket/1"}
    pod = made("Deployment", model=model, containers=others)["template"]["spec"]
    (fetch,) = pod["initContainers"]
    assert (fetch["name"], fetch["args"]) == ("storage-initializer", ["s3://bucket/1", "/mnt/models"])
    mounts = {
        c["name"]: [(m["mountPath"], m["readOnly"]) for m in c.get("volumeMounts", ())] for c in pod["containers"]
    }
    release = [("/mnt/models", True)]
    assert mounts == {"kserve-container": release, "transformer-container": release, "sidecar": []}


def test_a_service_has_the_first_port_as_80() -> None:
    ports = [{"name": "http", "containerPort": 8080}, {"name": "grpc", "containerPort": 8081, "protocol": "TCP"}]
    offered = made("Service", containers=[{"name": "transformer-container", "ports": ports}])["ports"]
    assert [(p["port"], p["targetPort"], p["name"]) for p in offered] == [(80, 8080, "http"), (8081, 8081, "grpc")]
    assert [(p["port"], p["targetPort"]) for p in made("Service")["ports"]] == [(80, 8080)], "KServe's default"


def test_scaling_is_by_the_annotation() -> None:
    assert made("HorizontalPodAutoscaler", minReplicas=2)["maxReplicas"] == 2
    metric = {"backend": "prometheus", "serverAddress": "http://prometheus", "query": "sum(x)"}
    keda = {"name": "shop", "annotations": {"serving.kserve.io/autoscalerClass": "keda"}}
    external = {"type": "External", "external": {"metric": metric, "target": {"type": "Value", "value": "4"}}}
    scaled = made("ScaledObject", metadata=keda, maxReplicas=8, autoScaling={"metrics": [external]})
    assert (scaled["minReplicaCount"], scaled["maxReplicaCount"]) == (1, 8)
    assert scaled["triggers"][0]["metadata"]["threshold"] == "4"
    none = {"name": "shop", "annotations": {"serving.kserve.io/autoscalerClass": "none"}}
    assert [m["kind"] for m in made_by_kserve(cluster(metadata=none))] == ["Deployment", "Service"]
