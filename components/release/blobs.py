"""Large files stored once: releases that share frozen weights share their bytes on disk.

Files above 16 MB lie in a store under their SHA-256 and are hard-linked into releases. They are read-only: a change
through one name would change all. Across devices a hard link is impossible, and a release keeps its own copy.
"""

import errno
import os
import shutil
from pathlib import Path

from components.contracts.tools.cache import cache_folder
from components.contracts.tools.manifest import file_digest

LARGE_BYTES = 16 << 20
_CANNOT_LINK = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP)


def blob_folder() -> Path:
    """Where blobs of this machine lie (ARCHIPELAGO_CACHE moves it)."""
    return cache_folder() / "blobs"


def link_or_copy(source: Path, target: Path) -> None:
    """Make `target` the same file as `source`, or a copy where a hard link is impossible.

    Raises:
        FileExistsError: `target` exists.
    """
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _CANNOT_LINK:
            raise
        shutil.copyfile(source, target)


def store_large_files(root: Path, store: Path | None = None, threshold: int = LARGE_BYTES) -> dict[str, str]:
    """Make every file under `root` larger than `threshold` bytes a hard link into the store.

    Returns:
        relative path -> SHA-256 of each such file.
    """
    store = store or blob_folder()
    large = sorted(path for path in root.rglob("*") if path.is_file() and path.stat().st_size > threshold)
    digests = {}
    for path in large:
        digest = file_digest(path)
        digests[path.relative_to(root).as_posix()] = digest
        blob = store / digest[:2] / digest
        blob.parent.mkdir(parents=True, exist_ok=True)
        path.chmod(0o444)
        try:
            os.link(path, blob)
        except FileExistsError:
            _replace_by_link(blob, path)
        except OSError as error:
            if error.errno not in _CANNOT_LINK:
                raise
    return digests


def _replace_by_link(blob: Path, path: Path) -> None:
    if blob.samefile(path):
        return
    staging = path.with_name(f".{path.name}.link")
    link_or_copy(blob, staging)
    staging.rename(path)
