"""What an InferenceService says of releases: the one served, the one before, a canary beside it; and how that changes.

Nothing here talks to a cluster: an object goes in, a JSON merge patch comes out. A merge patch leaves what it doesn't
name as it is and replaces lists whole.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from components.contracts.errors import BadInput
from components.contracts.releases import NAME_DIGITS

RELEASE, PREVIOUS, RUN = "archipelago/release", "archipelago/previous-release", "archipelago/run"
# One canary at a time, under one name: the right to look at its Deployment can then name that Deployment.
CANARY = "canary"
# What the manifests name until something is deployed: nothing to go back to.
NO_RELEASE = "0" * NAME_DIGITS

Json = dict[str, Any]


@dataclass(frozen=True)
class State:
    """An InferenceService, as far as releases go.

    Attributes:
        name, namespace: of the object.
        uri: storage URI of the release that it serves.
        previous: name of the release before, where that is noted.
        run: the pipeline run that made the release, where that is noted.
        canary: storage URI of the canary's release; None without one.
        share: percent of requests that the canary answers.
        version: of the object, for a change that must meet it unchanged.
    """

    name: str
    namespace: str
    uri: str
    previous: str | None
    run: str | None
    canary: str | None
    share: int
    version: str
    model: Mapping[str, Any]

    @property
    def release(self) -> str:
        """Name of the served release, the last part of its URI."""
        return name_of(self.uri)

    @property
    def store(self) -> str:
        """The folder that it lies in."""
        return self.uri.rpartition("/")[0]


def read_state(service: Mapping[str, Any]) -> State:
    """What an InferenceService says.

    Raises:
        BadInput: it has no storageUri, or canaries of somebody else's.
    """
    metadata, spec = service["metadata"], service["spec"]
    where = f"inferenceservice {metadata['namespace']}/{metadata['name']}"
    model = spec.get("predictor", {}).get("model") or {}
    if not model.get("storageUri"):
        raise BadInput(f"{where}: spec.predictor.model.storageUri is not set; apply the manifests first")
    canaries = spec.get("canary") or []
    if len(canaries) > 1 or any(entry["predictor"].get("name") != CANARY for entry in canaries):
        names = ", ".join(str(entry["predictor"].get("name")) for entry in canaries)
        raise BadInput(f"{where}: has canaries that this command did not make ({names}); take them out of spec.canary")
    notes = metadata.get("annotations") or {}
    return State(
        name=metadata["name"],
        namespace=metadata["namespace"],
        uri=model["storageUri"].rstrip("/"),
        previous=notes.get(PREVIOUS),
        run=notes.get(RUN),
        canary=canaries[0]["predictor"]["model"]["storageUri"].rstrip("/") if canaries else None,
        share=canaries[0]["trafficPercent"] if canaries else 0,
        version=metadata["resourceVersion"],
        model=model,
    )


def name_of(uri: str) -> str:
    """Name of the release that a storage URI names."""
    return uri.rstrip("/").rpartition("/")[2]


def release_name(digest: str) -> str:
    """A release's name from its digest, or from its name.

    Raises:
        BadInput: too short, or no hexadecimal digits.
    """
    if not re.fullmatch(rf"[0-9a-f]{{{NAME_DIGITS},64}}", digest):
        raise BadInput(
            f"release {digest!r}: expected a release's folder, or {NAME_DIGITS} or more digits of its digest"
        )
    return digest[:NAME_DIGITS]


def serve_patch(state: State, uri: str, run: str | None) -> Json:
    """Serve the release at `uri` from now on, without a canary; the one served now becomes the previous one."""
    if name_of(uri) == state.release:
        return {"spec": {"predictor": {"model": {"storageUri": uri}}, "canary": None}}
    previous = None if state.release == NO_RELEASE else state.release
    notes = {RELEASE: name_of(uri), PREVIOUS: previous, RUN: run}
    return {
        "metadata": {"annotations": notes},
        "spec": {"predictor": {"model": {"storageUri": uri}}, "canary": None},
    }


def canary_patch(state: State, uri: str, share: int) -> Json:
    """Let a release answer a share of requests beside the one served.

    KServe lays a canary's predictor over the service's own, so it says what differs. Annotations stay as they are: they
    reach the pods of the release that is served, which a changed one would start anew.
    """
    model = {"name": "kserve-container", **state.model, "storageUri": uri}
    return {"spec": {"canary": [{"predictor": {"name": CANARY, "model": model}, "trafficPercent": share}]}}


def take_over_patch(state: State) -> Json:
    """First half of a promotion: the canary answers everything while the service's own pods change to its release."""
    assert state.canary
    model = {"model": {"storageUri": state.canary}}
    return serve_patch(state, state.canary, None) | {
        "spec": {"predictor": model, **canary_patch(state, state.canary, 100)["spec"]}
    }


NO_CANARY: Json = {"spec": {"canary": None}}
