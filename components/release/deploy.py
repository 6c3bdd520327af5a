"""Deploy, promote, roll back: what a cluster's InferenceService serves, by a release's digest.

Each verb changes the InferenceService and returns only when the service itself answers with the release it should.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.contracts.errors import BadInput
from components.contracts.releases import check_release, check_versions, read_release
from components.contracts.signature import check_signature
from components.release.cluster import Cluster
from components.release.inference_service import (
    CANARY,
    NO_CANARY,
    Json,
    State,
    canary_patch,
    name_of,
    release_name,
    serve_patch,
    take_over_patch,
)
from components.release.rollout import wait_until_served

TIMEOUT_S = 900.0


def check_before_deploying(release: Path, public_key: Path | None) -> str:
    """The digest of a release that may be deployed.

    In a pod Triton starts beside the transformer, which refuses what is wrong only then: so it is looked at before.

    Raises:
        BadInput: not a release, changed since it was built, built for other features than this code serves, or, with a
            key, not signed by its owner.
    """
    check_versions(release)
    if public_key:
        check_signature(release, public_key)
    check_release(release)
    return str(read_release(release)["digest"])


def deploy(
    cluster: Cluster,
    digest: str,
    store: str | None = None,
    canary_percent: int | None = None,
    run: str | None = None,
    timeout_s: float = TIMEOUT_S,
) -> str:
    """Serve a release, or let it answer a share of requests beside the one served; returns its name.

    Args:
        cluster: with the InferenceService.
        digest: of the release, at least its twelve digits.
        store: URI of the folder that holds it; None is the folder of the release that is served.
        canary_percent: share of requests; None makes it the one that is served.
        run: id of the pipeline run that made it, noted in an annotation.
        timeout_s: seconds to wait until it answers.

    Raises:
        BadInput: no such service, a canary stands there already, or the change was refused.
        ClusterError: the release did not come to answer in time.
    """
    name = release_name(digest)

    def decide(state: State) -> Json:
        uri = f"{(store or state.store).rstrip('/')}/{name}"
        if canary_percent is None:
            if state.canary:
                raise BadInput(f"release {name_of(state.canary)} is a canary with {state.share} %: promote or rollback")
            return serve_patch(state, uri, run)
        if state.release == name:
            raise BadInput(f"release {name} is served already: it can't be a canary beside itself")
        if state.canary and name_of(state.canary) != name:
            raise BadInput(f"release {name_of(state.canary)} is a canary with {state.share} %: promote or rollback")
        return canary_patch(state, uri, canary_percent)

    cluster.change(decide)
    wait_until_served(cluster, name, timeout_s, canary=canary_percent is not None)
    return name


def promote(cluster: Cluster, percent: int = 100, timeout_s: float = TIMEOUT_S) -> str:
    """Give the canary a larger share, or with 100 make its release the one that is served; returns its name.

    The service's own pods change to the release while the canary answers everything, and then the canary goes: nobody
    is sent back to the release before. Cut off in between, it goes on where it was.

    Raises:
        BadInput: no canary, or the change was refused.
        ClusterError: the release did not come to answer in time.
    """

    def decide(state: State) -> Json:
        uri = _canary(state)
        if percent < 100:
            if name_of(uri) == state.release:
                raise BadInput(f"release {state.release} is being promoted: promote to 100, or rollback")
            return canary_patch(state, uri, percent)
        return take_over_patch(state)

    name = name_of(_canary(cluster.state()))
    wait_until_served(cluster, name, timeout_s, canary=True)  # what does not answer gets no more requests
    cluster.change(decide)
    if percent == 100:
        wait_until_served(cluster, name, timeout_s)
        cluster.change(lambda _: NO_CANARY)
    return name


def rollback(cluster: Cluster, timeout_s: float = TIMEOUT_S) -> str:
    """Take the canary away; without one, go back to the release before. Returns the name of what is served then.

    Raises:
        BadInput: no canary and no release before, or the change was refused.
        ClusterError: the release did not come to answer in time.
    """

    def decide(state: State) -> Json:
        if state.canary and name_of(state.canary) != state.release:
            return NO_CANARY
        if not state.previous:
            raise BadInput(
                f"inferenceservice {state.namespace}/{state.name}: no release before {state.release} is noted"
            )
        return serve_patch(state, f"{state.store}/{release_name(state.previous)}", None)

    name = cluster.change(decide).release
    wait_until_served(cluster, name, timeout_s)
    return name


def status(cluster: Cluster) -> Mapping[str, Any]:
    """What the InferenceService names, and what answers: `release`, `answers`, `previous`, `run`, `share`, `canary`."""
    state = cluster.state()
    beside = None
    if state.canary:
        beside = {"release": name_of(state.canary), "share": state.share, "answers": cluster.answers(canary=True)}
    return {
        "release": state.release,
        "share": 100 - state.share,
        "answers": cluster.answers(),
        "previous": state.previous,
        "run": state.run,
        CANARY: beside,
    }


def _canary(state: State) -> str:
    if state.canary is None:
        raise BadInput(f"inferenceservice {state.namespace}/{state.name}: no canary (deploy --canary-percent)")
    return state.canary
