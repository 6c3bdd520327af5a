"""A pipeline's last step: bring a release to the store that a service reads, and serve it."""

import os
from pathlib import Path

from components.contracts.errors import BadInput
from components.contracts.locations import upload
from components.contracts.releases import PUBLIC_KEY
from components.contracts.tools.log import get_logger
from components.contracts.tools.manifest import MANIFEST, read_manifest
from components.release.cluster import Cluster
from components.release.deploy import check_before_deploying, deploy

SERVICE = "archipelago"

_logger = get_logger(__name__)


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
    namespace, _, name = service.partition("/")
    if not namespace or "/" in name:
        raise BadInput(f"deploy_to {service!r}: expected an InferenceService as namespace/name")
    release = stage / str(read_manifest(stage)["release"])
    public_key = os.environ.get(PUBLIC_KEY)
    check_before_deploying(release, Path(public_key) if public_key else None)
    cluster = Cluster(namespace, name or SERVICE)
    place = f"{cluster.state().store}/{release.name}"
    copied = upload(release, place, last=MANIFEST)
    _logger.info("release %s %s %s", release.name, "copied to" if copied else "lies already at", place)
    return deploy(cluster, release.name, run=run)
