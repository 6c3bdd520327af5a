"""What a release is called and how it is checked, agreed between those who build one and those who serve it.

A release's manifest holds the SHA-256 of every other file (`files`), the release's own digest, which follows from them
(`digest`), and a digest of all that the manifest itself says (`manifest_digest`).
"""

import hashlib
import json
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

from components.contracts.errors import BadInput
from components.contracts.tools.manifest import MANIFEST, check_text_version, file_digest, read_manifest

SEARCH_RELEASE, RELEVANCE_RELEASE = "search-release", "relevance-release"  # a manifest's `kind`
NAME_DIGITS = 12  # of the content's digest: the name of a release's folder
REPORTS = "reports"
PROFILE = "profile.json"  # among them: what later data may be compared with (components.monitoring.profiles)
SIGNATURE = f"{MANIFEST}.sig"  # components.contracts.signature; no part of what it signs

# Environment variable of the step that builds releases: a private key's file, from a Secret. With it, they are signed.
SIGNING_KEY = "ARCHIPELAGO_SIGNING_KEY"
# Environment variable of a server: a public key's file. With it, only releases that its owner signed are served.
PUBLIC_KEY = "ARCHIPELAGO_PUBLIC_KEY"

# Environment variable of a server: address of an online store other than an SQLite file. The step that keeps features
# fresh reads it, too, and the address of an SQL registry of Feast that shall know the definitions.
ONLINE_STORE = "ARCHIPELAGO_ONLINE_STORE"
FEATURE_REGISTRY = "ARCHIPELAGO_FEATURE_REGISTRY"
# And prometheus_client's: a folder, empty at the start, where its worker processes add up their metrics.
PROCESS_METRICS = "PROMETHEUS_MULTIPROC_DIR"

_OWN_DIGEST = "manifest_digest"


def file_digests(root: Path, known: Mapping[str, str] | None = None) -> dict[str, str]:
    """Hex SHA-256 of every file of a release, by relative path; on all cores, the largest files first.

    The manifest and its signature are left out: the one holds these digests, the other follows from it.

    Args:
        root: the release's folder.
        known: digests computed already.
    """
    known = known or {}
    files = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}
    for name in (MANIFEST, SIGNATURE):
        files.pop(name, None)
    wanted = sorted(files.keys() - known.keys(), key=lambda name: -files[name].stat().st_size)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:  # hashing lets other threads run
        found = dict(zip(wanted, pool.map(lambda name: file_digest(files[name]), wanted), strict=True))
    return {name: known.get(name) or found[name] for name in sorted(files)}


def release_digest(files: Mapping[str, str]) -> str:
    """Hex SHA-256 over names and digests of a release's files, manifests and reports left out.

    Manifests and reports describe how a release was made, are never served, and hold times and random element ids:
    equal models, features and catalogue make the same release.
    """
    digest = hashlib.sha256()
    for name in sorted(files):
        if not name.startswith(f"{REPORTS}/") and PurePosixPath(name).name != MANIFEST:
            digest.update(f"{name}\0{files[name]}\n".encode())
    return digest.hexdigest()


def sealed(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """A release's manifest with the digest of what it says."""
    content = {name: value for name, value in manifest.items() if name != _OWN_DIGEST}
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return content | {_OWN_DIGEST: hashlib.sha256(text.encode()).hexdigest()}


def read_release(root: Path) -> dict[str, Any]:
    """The manifest of a release.

    Raises:
        BadInput: no release, or its manifest is not as it was built.
    """
    manifest = read_manifest(root)
    if manifest.get("kind") not in (SEARCH_RELEASE, RELEVANCE_RELEASE):
        raise BadInput(f"{root}: a directory of kind {manifest.get('kind')!r}, not a release")
    if manifest.get(_OWN_DIGEST) != sealed(manifest)[_OWN_DIGEST]:
        raise BadInput(f"{root / MANIFEST}: has changed since the release was built; copy the release anew")
    return manifest


def check_versions(root: Path) -> None:
    """Before a release is served or deployed.

    Raises:
        BadInput: it ranks by other features than this code reads, or text has another normal form in it.
    """
    from components.contracts.features import feature_schema  # with numpy, for which a command's help need not wait

    manifest = read_release(root)
    check_text_version(manifest, root)
    built_for = manifest.get("feature_schema")
    if manifest["kind"] == SEARCH_RELEASE and built_for != feature_schema():
        raise BadInput(
            f"{root}: built for the features {built_for}, this version serves {feature_schema()}; "
            "build the release anew with it, or serve it with the version that built it"
        )


def check_release(root: Path) -> None:
    """Read every file of a release, and compare it with the manifest.

    Raises:
        BadInput: no release, or a file is absent, added or changed; says which.
    """
    manifest = read_release(root)
    stated, found = manifest["files"], file_digests(root)
    for name in sorted(stated.keys() | found.keys()):
        if stated.get(name) != found.get(name):
            what = "is missing" if name not in found else "was added" if name not in stated else "has changed"
            raise BadInput(f"{root / name}: {what} since the release was built; copy the release anew")
    if release_digest(found) != manifest["digest"]:
        raise BadInput(f"{root / MANIFEST}: its digest is not that of its files")
