"""Large files are stored once, whatever happens to the releases that use them."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from components.contracts.tools.manifest import file_digest
from components.release import blobs
from components.release.blobs import blob_folder, link_or_copy, store_large_files

THRESHOLD = 100


def release(root: Path, weights: bytes) -> Path:
    (root / "triton" / "expert").mkdir(parents=True)
    (root / "triton" / "expert" / "model.onnx.data").write_bytes(weights)
    (root / "small.json").write_bytes(b"{}")
    return root


def test_equal_weights_of_two_releases_are_one_file(tmp_path: Path) -> None:
    store, weights = tmp_path / "store", b"w" * 101
    first, second = release(tmp_path / "a", weights), release(tmp_path / "b", weights)
    digests = store_large_files(first, store, THRESHOLD)
    assert store_large_files(second, store, THRESHOLD) == digests
    name = "triton/expert/model.onnx.data"
    assert digests == {name: file_digest(first / name)}
    assert (first / name).samefile(second / name)
    assert (first / name).stat().st_nlink == 3
    assert (second / name).read_bytes() == weights
    assert not os.access(first / name, os.W_OK) or os.geteuid() == 0
    assert (first / name).stat().st_mode & 0o222 == 0


def test_small_files_stay_what_they_are(tmp_path: Path) -> None:
    root = release(tmp_path / "a", b"w" * THRESHOLD)
    assert store_large_files(root, tmp_path / "store", THRESHOLD) == {}
    assert (root / "small.json").stat().st_nlink == 1


def test_storing_again_changes_nothing(tmp_path: Path) -> None:
    root = release(tmp_path / "a", b"w" * 200)
    first = store_large_files(root, tmp_path / "store", THRESHOLD)
    assert store_large_files(root, tmp_path / "store", THRESHOLD) == first


def test_a_release_survives_the_end_of_another_and_of_the_store(tmp_path: Path) -> None:
    first, second = release(tmp_path / "a", b"w" * 200), release(tmp_path / "b", b"w" * 200)
    for root in (first, second):
        store_large_files(root, tmp_path / "store", THRESHOLD)
    shutil.rmtree(first)
    shutil.rmtree(tmp_path / "store")
    assert (second / "triton" / "expert" / "model.onnx.data").read_bytes() == b"w" * 200


def test_across_devices_files_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_link(source: object, target: object) -> None:
        raise OSError(errno.EXDEV, "another device")

    monkeypatch.setattr(blobs.os, "link", no_link)
    root = release(tmp_path / "a", b"w" * 200)
    assert list(store_large_files(root, tmp_path / "store", THRESHOLD)) == ["triton/expert/model.onnx.data"]
    assert (root / "triton" / "expert" / "model.onnx.data").read_bytes() == b"w" * 200
    link_or_copy(root / "small.json", tmp_path / "copy.json")
    assert (tmp_path / "copy.json").read_bytes() == b"{}"


def test_other_failures_to_link_are_errors(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    with pytest.raises(FileExistsError):
        link_or_copy(tmp_path / "a", tmp_path / "b")


def test_the_store_lies_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCHIPELAGO_CACHE", str(tmp_path / "cache"))
    assert blob_folder() == tmp_path / "cache" / "blobs"
