"""Atomic writes, content digests and the manifest every dataset and model directory carries."""

import hashlib
import importlib.metadata
import json
import os
import platform
import resource
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from components.contracts.errors import BadInput

MANIFEST = "manifest.json"
_CHUNK = 1 << 20
_FACTS = ("kind", "digest", "inputs", "markets", "as_of", "simulated")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON under a temporary name, then rename: readers see the old file or the whole new one."""
    text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text + "\n")
        Path(name).chmod(0o644)
        Path(name).rename(path)
    except BaseException:
        Path(name).unlink()
        raise


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object, or raise BadInput that names the file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: not a readable JSON file ({error})") from error
    if not isinstance(content, dict):
        raise BadInput(f"{path}: expected a JSON object, found {type(content).__name__}")
    return content


@contextmanager
def atomic_directory(target: Path) -> Iterator[Path]:
    """Yield a temporary sibling of `target`; on success it replaces `target`, on failure it is removed.

    An existing `target` is replaced as a whole, so no reader sees files of two versions.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    staging.chmod(0o755)
    try:
        yield staging
        if target.exists():
            shutil.rmtree(target)
        staging.rename(target)
    finally:
        if staging.exists():
            shutil.rmtree(staging)


def file_digest(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def tree_digest(root: Path, exclude: Sequence[str] = (MANIFEST,)) -> str:
    """Hex SHA-256 over the relative names and contents of a directory's files, in name order."""
    digest = hashlib.sha256()
    for path in sorted(p for p in root.rglob("*") if p.is_file() and p.name not in exclude):
        digest.update(f"{path.relative_to(root).as_posix()}\0{file_digest(path)}\n".encode())
    return digest.hexdigest()


def package_versions(names: Sequence[str]) -> dict[str, str]:
    """Installed versions of the named distributions, and Python's; absent ones are left out."""
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def write_manifest(
    root: Path,
    kind: str,
    config: Mapping[str, Any],
    inputs: Mapping[str, str],
    metrics: Mapping[str, Any] | None = None,
    packages: Sequence[str] = (),
    **extra: Any,
) -> dict[str, Any]:
    """Write `root/manifest.json`: what made the directory, from which data, with which metrics, and its digest.

    Args:
        root: the dataset or model directory, complete but for the manifest.
        kind: what it holds, e.g. "log", "relevance-model".
        config: the stage's configuration, seed included.
        inputs: name -> digest of each input directory (`input_digest`).
        metrics: figures measured while making it.
        packages: distributions whose versions matter to the result.
        extra: further facts; must be JSON values.
    """
    manifest = {
        "kind": kind,
        "digest": tree_digest(root),
        "config": dict(config),
        "inputs": dict(inputs),
        "metrics": dict(metrics or {}),
        "versions": package_versions(["archipelago-search", "numpy", "pyarrow", *packages]),
        "text_version": _text_version(),
        **extra,
    }
    write_json(root / MANIFEST, manifest)
    return manifest


def read_manifest(root: Path) -> dict[str, Any]:
    """The manifest of a dataset or model directory; BadInput if it has none."""
    return read_json(root / MANIFEST)


def facts(root: Path) -> dict[str, Any]:
    """What a manifest says in few words, as the metadata of an artifact: what made it, of what, and how much it is.

    `inputs` names the digests of what it was made from, which are the `digest` of other artifacts.
    """
    manifest = read_manifest(root)
    known = {name: manifest[name] for name in _FACTS if manifest.get(name) is not None}
    figures = manifest.get("metrics", {}).items()
    return known | {name: value for name, value in figures if name == "rows" or isinstance(value, str | float | int)}


def input_digest(root: Path) -> str:
    """The digest an input directory's manifest states.

    Raises:
        BadInput: no manifest, or it was made under another version of text: its keys would not be found.
    """
    manifest = read_manifest(root)
    check_text_version(manifest, root)
    return str(manifest["digest"])


def check_text_version(manifest: Mapping[str, Any], root: Path) -> None:
    """BadInput where text had another normal form, or was cut otherwise, for what lies in `root` than in this code."""
    made, own = manifest.get("text_version", 1), _text_version()
    if made != own:
        raise BadInput(f"{root}: made under version {made} of text's normal form, this code's is {own}; make it anew")


def _text_version() -> int:
    from components.contracts.text import TEXT_VERSION  # with numpy, for which a command's help need not wait

    return TEXT_VERSION


@contextmanager
def stage_directory(target: str | Path) -> Iterator[Path]:
    """The atomic output directory of one pipeline step, with its wall seconds and peak memory added to the manifest.

    The step must write a manifest into the yielded directory (`write_manifest`). Seconds and memory are facts about
    the run, not about the content: they stay out of the digest.
    """
    started = time.perf_counter()
    with atomic_directory(Path(target)) as staging:
        yield staging
        manifest = read_manifest(staging)
        manifest["run"] = {
            "seconds": round(time.perf_counter() - started, 3),
            "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        }
        write_json(staging / MANIFEST, manifest)
