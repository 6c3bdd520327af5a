"""Data where its owner keeps it: a path here, a mounted volume claim, or an object store.

Object stores are read by pyarrow, which every image holds. Credentials are the pod's identity, or variables that a
Secret sets (AWS_ACCESS_KEY_ID and its kin, AWS_ENDPOINT_URL; GOOGLE_APPLICATION_CREDENTIALS).
"""

import hashlib
import shutil
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pyarrow as pa
from pyarrow import fs

from components.contracts.errors import BadInput
from components.contracts.mapping import MAPPING
from components.contracts.tools.manifest import file_digest

# A step's volume claims are mounted below this folder, each under its name.
CLAIMS = Path("/mnt/claims")
_STORES = ("s3", "gs")
_CHUNK = 1 << 22
_SCHEMES = (*_STORES, "pvc", "file")


def data_version(*locations: str) -> str:
    """Hex SHA-256 that changes when what lies at any of the locations does.

    Files count by their content; objects by name, size and time of change, which a store gives without reading them.
    An empty location counts as absent.

    Raises:
        BadInput: all are empty, or one can't be read.
    """
    if not any(locations):
        raise BadInput("no data named: give data (a folder of the six tables) or judgments (a file), as a path or URI")
    digest = hashlib.sha256()
    for location in locations:
        digest.update(b"\0absent\0" if not location else b"\0")
        for line in _contents(location) if location else []:
            digest.update(line.encode() + b"\n")
    return digest.hexdigest()


def in_store(location: str) -> bool:
    """Whether a location is an object store's, which has no path here."""
    return urlsplit(location).scheme in _STORES


def claim_of(location: str) -> str | None:
    """The volume claim that a location lies in."""
    parts = urlsplit(location)
    return parts.netloc if parts.scheme == "pvc" else None


def local_copy(location: str, folder: Path) -> Path:
    """The path of a location: its own where it is mounted or local, else that of its copy below `folder`.

    Raises:
        BadInput: an unknown scheme, a claim that isn't mounted, an object store that can't be read.
    """
    if not in_store(location):
        return _local(location)
    store, source = _open(location)
    target = folder / Path(source).name
    try:
        if store.get_file_info(source).type == fs.FileType.File:
            folder.mkdir(parents=True, exist_ok=True)
            fs.copy_files(source, str(target), source_filesystem=store, destination_filesystem=fs.LocalFileSystem())
            return target
        target.mkdir(parents=True, exist_ok=True)
        fs.copy_files(source, str(target), source_filesystem=store, destination_filesystem=fs.LocalFileSystem())
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(location, error) from error
    return target


def upload(folder: Path, location: str, last: str) -> bool:
    """Copy a folder to a location, its file `last` after all others: what finds that one there finds the whole.

    Returns:
        Whether anything was copied: where `last` is there already, so is the rest.

    Raises:
        BadInput: an unknown scheme, a claim that isn't mounted, an object store that can't be written.
    """
    files = sorted((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path == folder / last)
    inside = in_store(location)
    store, target = _open(location) if inside else (fs.LocalFileSystem(), str(_local(location)))
    try:
        if store.get_file_info(f"{target}/{last}").is_file:
            return False
        for path in files:
            _copy(path, store, f"{target}/{path.relative_to(folder).as_posix()}", inside)
    except (OSError, pa.ArrowException) as error:
        raise _refused("written", location, error) from error
    return True


def files_of(location: str, suffix: str) -> list[str]:
    """Names of a folder's files that end so, in order.

    Raises:
        BadInput: the folder can't be read, or has no such file.
    """
    names = [line.partition(" ")[0] for line in _contents(location)]
    found = [name for name in names if name.endswith(suffix) and "/" not in name]
    if not found:
        raise BadInput(f"{location}: no file *{suffix} there")
    return found


def is_file(location: str) -> bool:
    """Whether a file lies there; BadInput where that can't be told."""
    if not in_store(location):
        return _local(location).is_file()
    store, source = _open(location)
    try:
        return bool(store.get_file_info(source).is_file)
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(location, error) from error


def put(file: Path, location: str) -> None:
    """Copy a file to a location, where it appears whole or not at all; BadInput where it can't be written."""
    inside = in_store(location)
    store, target = _open(location) if inside else (fs.LocalFileSystem(), str(_local(location)))
    try:
        _copy(file, store, target, inside)
    except (OSError, pa.ArrowException) as error:
        raise _refused("written", location, error) from error


def _copy(file: Path, store: fs.FileSystem, target: str, inside: bool) -> None:
    """Copy a file; a reader finds it whole or not at all. `inside` an object store, which makes it so itself."""
    staging = target if inside else f"{target}.part"
    if not inside:
        store.create_dir(target.rpartition("/")[0])
    with file.open("rb") as source, store.open_output_stream(staging) as copy:
        shutil.copyfileobj(source, copy, _CHUNK)
    if not inside:
        store.move(staging, target)


def _contents(location: str) -> list[str]:
    """A line per file: its name and what tells its content."""
    if not in_store(location):
        path = _local(location)
        if not path.exists():
            raise BadInput(f"{location}: no such file or directory")
        if path.is_file():
            mapping = path.with_name(MAPPING)  # says how the file is to be read
            return [f"{file.name} {file_digest(file)}" for file in (path, mapping) if file.is_file()]
        files = sorted(file for file in path.rglob("*") if file.is_file())
        return [f"{file.relative_to(path).as_posix()} {file_digest(file)}" for file in files]
    store, source = _open(location)
    try:
        found = store.get_file_info(source)
        if found.type == fs.FileType.Directory:
            infos = store.get_file_info(fs.FileSelector(source, recursive=True))
            files_there = sorted((info for info in infos if info.is_file), key=lambda info: info.path)
        else:
            files_there = [found] if found.is_file else []
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(location, error) from error
    if not files_there:
        raise BadInput(f"{location}: nothing there")
    names = [info.path.removeprefix(f"{source}/") for info in files_there]
    return [f"{name} {info.size} {info.mtime_ns}" for name, info in zip(names, files_there, strict=True)]


def _local(location: str) -> Path:
    parts = urlsplit(location)
    if "://" not in location:
        return Path(location)
    if parts.scheme == "file" and not parts.netloc:
        return Path(unquote(parts.path))
    if parts.scheme == "pvc" and parts.netloc:
        mounted = CLAIMS / parts.netloc
        if not mounted.is_dir():
            raise BadInput(
                f"{location}: claim {parts.netloc} is not mounted: name it in the profile for the step, as in "
                f"resources: {{roles: {{data: {{claims: [{parts.netloc}]}}}}}}, and compile again"
            )
        path = (mounted / unquote(parts.path).lstrip("/")).resolve()
        if not path.is_relative_to(mounted.resolve()):
            raise BadInput(f"{location}: leads out of the claim")
        return path
    shapes = ", ".join(f"{scheme}://" for scheme in _SCHEMES)
    raise BadInput(f"{location}: not a path, nor a URI of {shapes} (file:///absolute/path, pvc://claim/path)")


def _open(location: str) -> tuple[fs.FileSystem, str]:
    try:
        store, source = fs.FileSystem.from_uri(location)
    except (OSError, ValueError) as error:
        raise _unreadable(location, error) from error
    return store, source.rstrip("/")


def _unreadable(location: str, error: Exception) -> BadInput:
    return _refused("read", location, error)


def _refused(verb: str, location: str, error: Exception) -> BadInput:
    reason = str(error).splitlines()[0]
    # A query may hold a key.
    return BadInput(
        f"{location.partition('?')[0]}: cannot be {verb} ({reason}); on a cluster, check the identity of the pod's "
        "service account, or the Secret that the profile's resources name"
    )
