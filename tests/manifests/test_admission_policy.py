"""The policy that bounds archipelago-deployer, evaluated by a CEL engine against patches it allows and refuses."""

import copy
from collections.abc import Callable
from typing import Any

import celpy
import celpy.celtypes as cel
import pytest

from tests.manifests.controller import Manifest
from tests.manifests.rendering import render

Object = dict[str, Any]
Change = Callable[[Object], object]

RELEASES = "s3://archipelago-releases/"
DEPLOYER = "system:serviceaccount:archipelago:archipelago-deployer"


# Of Kubernetes' extension for strings, which the engine doesn't bring.
def last_index_of(text: cel.StringType, part: cel.StringType) -> cel.IntType:
    return cel.IntType(text.rfind(part))


def substring(text: cel.StringType, start: cel.IntType, end: cel.IntType | None = None) -> cel.StringType:
    return cel.StringType(text[start:end])


class Policy:
    """A ValidatingAdmissionPolicy as the API server evaluates it: conditions, variables in order, validations."""

    def __init__(self, manifest: Manifest) -> None:
        self._spec = manifest["spec"]
        self._environment = celpy.Environment()
        self._functions = {"lastIndexOf": last_index_of, "substring": substring}

    def concerns(self, user: str) -> bool:
        """Whether the policy's conditions hold for a request of this user."""
        request = celpy.json_to_cel({"userInfo": {"username": user}})
        return all(self._value(c["expression"], {"request": request}) for c in self._spec["matchConditions"])

    def refusals(self, before: Object, after: Object) -> list[str]:
        """Messages of the validations that an update fails; an expression that fails refuses (failurePolicy: Fail)."""
        variables = cel.MapType()
        known = {
            "object": celpy.json_to_cel(after),
            "oldObject": celpy.json_to_cel(before),
            "variables": variables,
        }
        for variable in self._spec["variables"]:
            variables[cel.StringType(variable["name"])] = self._value(variable["expression"], known)
        return [v["message"] for v in self._spec["validations"] if not self._value(v["expression"], known)]

    def _value(self, expression: str, known: dict[str, Any]) -> Any:
        program = self._environment.program(self._environment.compile(expression), functions=self._functions)
        return program.evaluate(known)


@pytest.fixture(scope="module")
def manifests() -> list[Object]:
    return render("overlays/production")


@pytest.fixture(scope="module")
def policy(manifests: list[Object]) -> Policy:
    return Policy(next(m for m in manifests if m["kind"] == "ValidatingAdmissionPolicy"))


@pytest.fixture(scope="module")
def service(manifests: list[Object]) -> Object:
    """The InferenceService as it lies in a cluster: what the API server adds is there, and a note of others."""
    served = copy.deepcopy(next(m for m in manifests if m["kind"] == "InferenceService"))
    served["metadata"] |= {"generation": 3, "resourceVersion": "7", "finalizers": ["inferenceservice.finalizers"]}
    served["metadata"]["annotations"]["team"] = "search"
    served["spec"]["predictor"]["model"]["storageUri"] = RELEASES + "0a1b2c3d4e5f"
    return served


def canary(**model: Any) -> Object:
    named = {"name": "kserve-container", "modelFormat": {"name": "triton", "version": "2"}}
    return {
        "predictor": {"name": "canary", "model": named | {"storageUri": RELEASES + "ffffffffffff"} | model},
        "trafficPercent": 10,
    }


def model(service: Object) -> Object:
    found: Object = service["spec"]["predictor"]["model"]
    return found


ALLOWED: dict[str, Change] = {
    "another release": lambda s: model(s).update(storageUri=RELEASES + "ffffffffffff"),
    "the same release again": lambda s: s["metadata"].update(generation=4, resourceVersion="8"),
    "a canary": lambda s: s["spec"].update(canary=[canary()]),
    "two canaries": lambda s: s["spec"].update(canary=[canary(), {**canary(), "trafficPercent": 5}]),
    "notes": lambda s: s["metadata"]["annotations"].update(
        {
            "archipelago/release": "ffffffffffff",
            "archipelago/previous-release": "0a1b2c3d4e5f",
            "archipelago/run": "https://kubeflow.example.com/runs/1",
        }
    ),
    "a release, a canary and a note": lambda s: (
        model(s).update(storageUri=RELEASES + "ffffffffffff"),
        s["spec"].update(canary=[canary()]),
        s["metadata"]["annotations"].update({"archipelago/release": "ffffffffffff"}),
    ),
}

REFUSED: dict[str, tuple[Change, str]] = {
    "another image": (
        lambda s: s["spec"]["predictor"]["containers"][0].update(image="evil"),
        "of spec.predictor only",
    ),
    "another command": (
        lambda s: s["spec"]["predictor"]["containers"][0].update(command=["sh"]),
        "of spec.predictor only",
    ),
    "another account": (
        lambda s: s["spec"]["predictor"].update(serviceAccountName="default"),
        "of spec.predictor only",
    ),
    "more replicas": (lambda s: s["spec"]["predictor"].update(maxReplicas=100), "of spec.predictor only"),
    "a field that was not there": (
        lambda s: s["spec"]["predictor"].update(hostNetwork=True),
        "of spec.predictor only",
    ),
    "a field taken out": (lambda s: s["spec"]["predictor"].pop("securityContext"), "of spec.predictor only"),
    "a transformer of its own": (lambda s: s["spec"].update(transformer={"containers": []}), "of spec only"),
    "another runtime": (lambda s: model(s).update(runtime="other"), "of spec.predictor.model only"),
    "a variable of the model's container": (
        lambda s: model(s).update(env=[{"name": "LD_PRELOAD", "value": "/tmp/x.so"}]),
        "of spec.predictor.model only",
    ),
    "a protocol taken out": (lambda s: model(s).pop("protocolVersion"), "of spec.predictor.model only"),
    "a release from another bucket": (
        lambda s: model(s).update(storageUri="s3://elsewhere/ffffffffffff"),
        "a release lies in the folder",
    ),
    "a release from a folder below": (
        lambda s: model(s).update(storageUri=RELEASES + "tmp/ffffffffffff"),
        "a release lies in the folder",
    ),
    "a release from a longer bucket's name": (
        lambda s: model(s).update(storageUri="s3://archipelago-releases-2/ffffffffffff"),
        "a release lies in the folder",
    ),
    "a release without a digest": (
        lambda s: model(s).update(storageUri=RELEASES + "latest"),
        "a release lies in the folder",
    ),
    "a canary from another bucket": (
        lambda s: s["spec"].update(canary=[canary(storageUri="s3://elsewhere/ffffffffffff")]),
        "a release lies in the folder",
    ),
    "a canary without a release": (
        lambda s: s["spec"].update(canary=[{"predictor": {"name": "canary"}, "trafficPercent": 10}]),
        "a canary names its release",
    ),
    "a canary with an image": (lambda s: s["spec"].update(canary=[canary(image="evil")]), "a canary names its release"),
    "a canary with another format": (
        lambda s: s["spec"].update(canary=[canary(modelFormat={"name": "sklearn"})]),
        "a canary names its release",
    ),
    "a canary with a container of its own": (
        lambda s: s["spec"].update(canary=[canary(name="mine")]),
        "a canary names its release",
    ),
    "a canary with an account": (
        lambda s: s["spec"].update(
            canary=[{**canary(), "predictor": canary()["predictor"] | {"serviceAccountName": "default"}}]
        ),
        "a canary names its release",
    ),
    "the second canary with an image": (
        lambda s: s["spec"].update(canary=[canary(), canary(image="evil")]),
        "a canary names its release",
    ),
    "KServe's annotations": (
        lambda s: s["metadata"]["annotations"].update({"serving.kserve.io/deploymentMode": "Serverless"}),
        "only annotations archipelago/*",
    ),
    "an annotation that was not there": (
        lambda s: s["metadata"]["annotations"].update({"serving.kserve.io/stop": "true"}),
        "only annotations archipelago/*",
    ),
    "an annotation that only looks like ours": (
        lambda s: s["metadata"]["annotations"].update({"archipelago": "x"}),
        "only annotations archipelago/*",
    ),
    "an annotation taken out": (
        lambda s: s["metadata"]["annotations"].pop("team"),
        "only annotations archipelago/*",
    ),
    "no annotations": (lambda s: s["metadata"].pop("annotations"), "only annotations archipelago/*"),
    "a label": (lambda s: s["metadata"]["labels"].update(team="x"), "labels, finalizers and owners"),
    "finalizers taken out": (lambda s: s["metadata"].pop("finalizers"), "labels, finalizers and owners"),
    "an owner": (
        lambda s: s["metadata"].update(ownerReferences=[{"name": "x", "kind": "Pod", "uid": "1", "apiVersion": "v1"}]),
        "labels, finalizers and owners",
    ),
}


@pytest.mark.parametrize("case", ALLOWED)
def test_what_a_deployment_needs_is_allowed(policy: Policy, service: Object, case: str) -> None:
    changed = copy.deepcopy(service)
    ALLOWED[case](changed)
    assert policy.refusals(service, changed) == []


@pytest.mark.parametrize("case", REFUSED)
def test_everything_else_is_refused(policy: Policy, service: Object, case: str) -> None:
    change, expected = REFUSED[case]
    changed = copy.deepcopy(service)
    change(changed)
    found = policy.refusals(service, changed)
    assert [message for message in found if expected in message], found


def test_a_canary_may_be_taken_back_and_others_canaries_stay(policy: Policy, service: Object) -> None:
    before = copy.deepcopy(service)
    theirs = {"predictor": {"name": "theirs", "minReplicas": 2, "model": {"storageUri": "s3://else/x"}}}
    before["spec"]["canary"] = [theirs | {"trafficPercent": 1}, canary()]
    for left in ([], before["spec"]["canary"][:1]):
        after = copy.deepcopy(before)
        after["spec"]["canary"] = left
        assert policy.refusals(before, after) == []
    after = copy.deepcopy(before)
    del after["spec"]["canary"]
    assert policy.refusals(before, after) == []


def test_a_service_without_annotations_takes_ours_alone(policy: Policy, service: Object) -> None:
    before = copy.deepcopy(service)
    del before["metadata"]["annotations"]
    for annotations, allowed in (({"archipelago/run": "1"}, True), ({"team": "x"}, False)):
        after = copy.deepcopy(before)
        after["metadata"]["annotations"] = annotations
        assert (policy.refusals(before, after) == []) == allowed


def test_the_policy_is_about_the_account_that_the_role_is_bound_to(manifests: list[Object], policy: Policy) -> None:
    binding = next(m for m in manifests if m["kind"] == "RoleBinding")
    users = [f"system:serviceaccount:{s['namespace']}:{s['name']}" for s in binding["subjects"]]
    assert users == [DEPLOYER]
    assert policy.concerns(DEPLOYER)
    assert not policy.concerns("system:serviceaccount:kserve:kserve-controller-manager")


def test_the_policy_is_bound_and_denies(manifests: list[Object]) -> None:
    policy = next(m for m in manifests if m["kind"] == "ValidatingAdmissionPolicy")
    binding = next(m for m in manifests if m["kind"] == "ValidatingAdmissionPolicyBinding")
    assert binding["spec"] == {"policyName": policy["metadata"]["name"], "validationActions": ["Deny"]}
    assert policy["spec"]["failurePolicy"] == "Fail"
    (rule,) = policy["spec"]["matchConstraints"]["resourceRules"]
    assert (rule["apiGroups"], rule["resources"]) == (["serving.kserve.io"], ["inferenceservices"])
    assert rule["operations"] == ["UPDATE"]
