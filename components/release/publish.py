"""The service that a release is for: what is served there, and how a pipeline brings it a new release."""

import os
from pathlib import Path

from components.contracts.errors import BadInput
from components.contracts.locations import upload
from components.contracts.releases import PUBLIC_KEY
from components.contracts.tools.log import get_logger
from components.contracts.tools.manifest import MANIFEST, read_manifest
from components.release.cluster import Cluster
from components.release.deploy import check_before_deploying, deploy
from components.release.inference_service import NO_RELEASE

SERVICE = "archipelago"

_logger = get_logger(__name__)


def place_of_served(service: str) -> str:
    """URI of the release that a service serves, which is named as `publish_and_deploy` takes it; empty where no release
    was deployed there yet.

    Raises:
        BadInput: no such service.
        ClusterError: the cluster does not answer.
    """
    state = _cluster(service).state()
    return "" if state.release == NO_RELEASE else state.uri


def publish_and_deploy(stage: Path, service: str, run: str) -> str:
    """Copy the release of `build_release_stage` beside the one that is served, and serve it; returns its name.

    Args:
        stage: the step's directory, which holds the release and names it.
        service: the InferenceService, as `namespace/name`, or its namespace where it has the manifests' name.
        run: id of the pipeline run, noted in an annotation.

    Raises:
        BadInput: a release that is not as it was built, or not signed as the variable ARCHIPELAGO_PUBLIC_KEY asks; no
            such service, a store that can't be written, or a change that is refused.
        ClusterError: the release did not come to answer in time.
    """
    cluster = _cluster(service)
    release = stage / str(read_manifest(stage)["release"])
    public_key = os.environ.get(PUBLIC_KEY)
    check_before_deploying(release, Path(public_key) if public_key else None)
    place = f"{cluster.state().store}/{release.name}"
    copied = upload(release, place, last=MANIFEST)
    _logger.info("release %s %s %s", release.name, "copied to" if copied else "lies already at", place)
    return deploy(cluster, release.name, run=run)


def _cluster(service: str) -> Cluster:
    namespace, _, name = service.partition("/")
    if not namespace or "/" in name:
        raise BadInput(f"deploy_to {service!r}: expected an InferenceService as namespace/name")
    return Cluster(namespace, name or SERVICE)
