"""A release is what its manifest says, to the byte."""

import json
import shutil
from pathlib import Path

import pytest

from components.contracts import releases
from components.contracts.errors import BadInput
from components.contracts.releases import check_release, file_digests, release_digest, sealed
from components.contracts.tools.manifest import write_json


@pytest.fixture
def release(tmp_path: Path) -> Path:
    root = tmp_path / "release"
    for name in ("triton/router/1/model.onnx", "blend.json", "reports/ranking.html"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"content of {name}")
    files = file_digests(root)
    manifest = {"kind": "search-release", "files": files, "digest": release_digest(files), "markets": ["ID"]}
    write_json(root / "manifest.json", sealed(manifest))
    return root


def test_a_release_as_built_passes_wherever_it_lies(release: Path, tmp_path: Path) -> None:
    check_release(release)
    check_release(shutil.copytree(release, tmp_path / "elsewhere"))


@pytest.mark.parametrize("name", ["triton/router/1/model.onnx", "blend.json", "reports/ranking.html"])
def test_one_flipped_byte_is_found_in_any_file(release: Path, name: str) -> None:
    content = bytearray((release / name).read_bytes())
    content[3] ^= 1
    (release / name).write_bytes(content)
    with pytest.raises(BadInput, match=f"{name}: has changed"):
        check_release(release)


def test_every_flipped_byte_of_the_manifest_is_found(release: Path) -> None:
    path = release / "manifest.json"
    content = path.read_bytes()
    meaning = json.loads(content)
    for place in range(len(content)):
        flipped = bytearray(content)
        flipped[place] ^= 1
        path.write_bytes(flipped)
        try:
            if json.loads(flipped) == meaning:
                continue  # white space became other white space
        except ValueError:
            pass
        with pytest.raises(BadInput, match=str(release)):
            check_release(release)


def test_missing_and_added_files_are_named(release: Path) -> None:
    (release / "triton" / "router" / "2").mkdir()
    (release / "triton" / "router" / "2" / "model.onnx").write_text("another version")
    with pytest.raises(BadInput, match=r"router/2/model\.onnx: was added"):
        check_release(release)
    shutil.rmtree(release / "triton" / "router" / "2")
    (release / "blend.json").unlink()
    with pytest.raises(BadInput, match=r"blend\.json: is missing"):
        check_release(release)


def test_reports_are_checked_but_name_nothing(release: Path) -> None:
    before = release_digest(file_digests(release))
    (release / "reports" / "ranking.html").write_text("another picture")
    assert release_digest(file_digests(release)) == before
    with pytest.raises(BadInput, match=r"ranking\.html: has changed"):
        check_release(release)


def test_known_digests_are_not_computed_again(release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = file_digests(release)
    monkeypatch.setattr(releases, "file_digest", lambda path: pytest.fail(f"{path} was read"))
    assert file_digests(release, known) == known
