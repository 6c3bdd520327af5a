"""Writes that are whole or not there, and digests of content."""

import json
from pathlib import Path

import pytest

from components.contracts.errors import ArchipelagoError, BadInput, DriftFound, GateRefused
from components.contracts.text import TEXT_VERSION
from components.contracts.tools.manifest import (
    atomic_directory,
    file_digest,
    input_digest,
    package_versions,
    read_json,
    read_manifest,
    stage_directory,
    tree_digest,
    write_json,
    write_manifest,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_directory_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b"
    with atomic_directory(target) as staging:
        (staging / "x").write_text("1")
        assert not target.exists()
        assert staging.parent == target.parent, "a rename within one file system"
    assert (target / "x").read_text() == "1"
    assert names(target.parent) == ["b"]
    assert target.stat().st_mode & 0o777 == 0o755, "other users of a container may read it"


def test_directory_is_replaced_whole(tmp_path: Path) -> None:
    for content in ("old", "new"):
        with atomic_directory(tmp_path / "d") as staging:
            (staging / content).touch()
    assert names(tmp_path / "d") == ["new"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_failure_keeps_the_old_directory(error: type[BaseException], tmp_path: Path) -> None:
    with atomic_directory(tmp_path / "d") as staging:
        (staging / "old").touch()
    with pytest.raises(error), atomic_directory(tmp_path / "d") as staging:
        (staging / "half").touch()
        raise error
    assert names(tmp_path) == ["d"]
    assert names(tmp_path / "d") == ["old"]


def test_json_round_trip(tmp_path: Path) -> None:
    content = {"b": [1, 2.5, None], "a": "เคส"}
    write_json(tmp_path / "deep" / "x.json", content)
    assert read_json(tmp_path / "deep" / "x.json") == content
    assert "เคส" in (tmp_path / "deep" / "x.json").read_text(encoding="utf-8"), "readable by people"
    assert (tmp_path / "deep" / "x.json").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("content", [{"x": float("nan")}, {"x": object()}])
def test_what_is_not_json_leaves_no_litter(content: dict[str, object], tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"old": 1})
    with pytest.raises((ValueError, TypeError)):
        write_json(tmp_path / "x.json", content)
    assert names(tmp_path) == ["x.json"]
    assert read_json(tmp_path / "x.json") == {"old": 1}


@pytest.mark.parametrize("text", ["", "{", "[1]", "\xff"])
def test_unreadable_json_is_bad_input(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(text, encoding="latin1")
    with pytest.raises(BadInput, match=r"x\.json"):
        read_json(tmp_path / "x.json")
    with pytest.raises(BadInput, match="manifest"):
        read_manifest(tmp_path)


def test_tree_digest_sees_names_and_contents_alone(tmp_path: Path) -> None:
    for root in ("one", "two"):
        for name in ("a", "sub/b") if root == "one" else ("sub/b", "a"):
            (tmp_path / root / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / root / name).write_text(name)
    first = tree_digest(tmp_path / "one")
    assert tree_digest(tmp_path / "two") == first
    (tmp_path / "two" / "manifest.json").write_text("{}")
    assert tree_digest(tmp_path / "two") == first, "the manifest states the digest, so it is no part of it"
    (tmp_path / "two" / "a").write_text("other")
    assert tree_digest(tmp_path / "two") != first
    (tmp_path / "one" / "a").rename(tmp_path / "one" / "c")
    assert tree_digest(tmp_path / "one") != first


def test_file_digest_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert file_digest(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_manifest_says_what_made_it(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("1")
    write_manifest(
        tmp_path, "log", {"seed": 7}, {"log": "d" * 64}, {"auc": 0.5}, packages=["pandas", "absent-x"], note=1
    )
    manifest = read_manifest(tmp_path)
    assert {key: manifest[key] for key in ("kind", "config", "inputs", "metrics", "note")} == {
        "kind": "log",
        "config": {"seed": 7},
        "inputs": {"log": "d" * 64},
        "metrics": {"auc": 0.5},
        "note": 1,
    }
    assert {"python", "numpy", "pandas"} <= set(manifest["versions"])
    assert "absent-x" not in manifest["versions"]
    assert input_digest(tmp_path) == tree_digest(tmp_path)


def test_what_was_keyed_by_another_normal_form_is_refused(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path, "x", {}, {})
    assert manifest["text_version"] == TEXT_VERSION
    for made in ({}, {"text_version": TEXT_VERSION + 1}):
        write_json(tmp_path / "manifest.json", {name: manifest[name] for name in ("kind", "digest")} | made)
        with pytest.raises(BadInput, match=f"of text's normal form, this code's is {TEXT_VERSION}; make it anew"):
            input_digest(tmp_path)


def test_a_stage_reports_time_and_memory_outside_its_digest(tmp_path: Path) -> None:
    digests = []
    for name in ("one", "two"):
        with stage_directory(str(tmp_path / name)) as root:
            (root / "data").write_text("1")
            write_manifest(root, "x", {}, {})
        manifest = json.loads((tmp_path / name / "manifest.json").read_text())
        assert manifest["run"]["seconds"] >= 0
        assert 5 < manifest["run"]["peak_rss_mb"] < 100_000
        digests.append(manifest["digest"])
    assert digests[0] == digests[1]


def test_a_stage_without_a_manifest_is_no_stage(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="manifest"), stage_directory(tmp_path / "x"):
        pass
    assert names(tmp_path) == []


def test_versions_of_what_is_installed() -> None:
    assert set(package_versions(["numpy", "no-such-thing"])) == {"python", "numpy"}


def test_exit_codes_are_the_public_ones() -> None:
    codes = {error: error.exit_code for error in (ArchipelagoError, BadInput, DriftFound, GateRefused)}
    assert codes == {ArchipelagoError: 1, BadInput: 2, DriftFound: 3, GateRefused: 4}
