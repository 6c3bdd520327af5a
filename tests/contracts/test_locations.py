"""Data where its owner keeps it."""

from pathlib import Path

import pytest
from pyarrow import fs

from components.contracts import locations
from components.contracts.errors import BadInput
from components.contracts.locations import data_version, files_of, is_file, local_copy, put
from tests.contracts.s3_server import s3_server


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder that answers for every object store."""
    root = tmp_path / "store"
    root.mkdir()

    def opened(location: str) -> tuple[fs.FileSystem, str]:
        return fs.SubTreeFileSystem(str(root), fs.LocalFileSystem()), location.partition("://")[2].rstrip("/")

    monkeypatch.setattr(locations, "_open", opened)
    return root


@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_a_folder_and_a_file_of_an_object_store_are_copied(scheme: str, store: Path, tmp_path: Path) -> None:
    (store / "bucket" / "log").mkdir(parents=True)
    (store / "bucket" / "log" / "items.csv").write_text("a")
    folder = local_copy(f"{scheme}://bucket/log/", tmp_path / "copy")
    assert [(path.name, path.read_text()) for path in folder.iterdir()] == [("items.csv", "a")]
    assert local_copy(f"{scheme}://bucket/log/items.csv", tmp_path / "one").read_text() == "a"
    before = data_version(f"{scheme}://bucket/log")
    assert before == data_version(f"{scheme}://bucket/log/")
    (store / "bucket" / "log" / "items.csv").write_text("ab")
    assert before != data_version(f"{scheme}://bucket/log")


def test_s3_is_read_by_its_protocol(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    objects = {"log/items.csv": b"abc", "log/users.csv": b"de"}
    with s3_server(objects) as endpoint:
        settings = {"ENDPOINT_URL": endpoint, "ACCESS_KEY_ID": "id", "SECRET_ACCESS_KEY": "key", "REGION": "eu-west-1"}
        for name, value in settings.items():
            monkeypatch.setenv(f"AWS_{name}", value)
        folder = local_copy("s3://bucket/log", tmp_path / "copy")
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"items.csv": b"abc", "users.csv": b"de"}
        before = data_version("s3://bucket/log")
        objects["log/users.csv"] = b"def"
        assert data_version("s3://bucket/log") != before
        with pytest.raises(BadInput, match="s3://bucket/other"):
            data_version("s3://bucket/other")


@pytest.mark.parametrize("there", ["s3://bucket/out", "path"])
def test_a_file_is_put_whole_and_found_again(there: str, store: Path, tmp_path: Path) -> None:
    (store / "bucket" / "out").mkdir(parents=True)
    folder = there if "://" in there else str(tmp_path / there)
    source = tmp_path / "source"
    source.write_bytes(b"abc")
    assert not is_file(f"{folder}/b.parquet")
    for name in ("b.parquet", "a.parquet", "notes.txt"):
        put(source, f"{folder}/{name}")
    assert is_file(f"{folder}/b.parquet") and not is_file(folder)
    assert files_of(folder, ".parquet") == ["a.parquet", "b.parquet"]
    with pytest.raises(BadInput, match=r"no file \*\.csv there"):
        files_of(folder, ".csv")
    source.write_bytes(b"abcd")
    put(source, f"{folder}/b.parquet")
    assert local_copy(f"{folder}/b.parquet", tmp_path / "copy").read_bytes() == b"abcd"


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"abc")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BadInput, match="cannot be written"):
        put(tmp_path / "source", str(tmp_path / "file" / "below"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "source"]


def test_an_empty_place_of_a_store_is_refused(store: Path) -> None:
    with pytest.raises(BadInput, match="s3://bucket/none: nothing there"):
        data_version("s3://bucket/none")


def test_a_claim_is_read_where_it_is_mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locations, "CLAIMS", tmp_path)
    (tmp_path / "logs" / "may").mkdir(parents=True)
    (tmp_path / "logs" / "may" / "items.csv").write_text("a")
    assert local_copy("pvc://logs/may", tmp_path) == tmp_path / "logs" / "may"
    assert data_version("pvc://logs/may") == data_version(str(tmp_path / "logs" / "may"))
    with pytest.raises(BadInput, match=r"claim other is not mounted: .*claims: \[other\]"):
        local_copy("pvc://other/may", tmp_path)
    with pytest.raises(BadInput, match="leads out"):
        local_copy("pvc://logs/../../etc", tmp_path)


def test_a_file_uri_is_a_path(tmp_path: Path) -> None:
    assert local_copy(f"file://{tmp_path}/a%20b", tmp_path) == tmp_path / "a b"


@pytest.mark.parametrize("location", ["ftp://host/x", "http://host/x", "file://host/x", "pvc:///x"])
def test_other_uris_are_refused(location: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="s3://, gs://, pvc://, file://"):
        local_copy(location, tmp_path)


def test_no_data_at_all_is_one_clear_error() -> None:
    with pytest.raises(BadInput, match="no data named: give data"):
        data_version("", "")


def test_a_version_follows_content_and_place(tmp_path: Path) -> None:
    one, other = tmp_path / "one.csv", tmp_path / "other.csv"
    one.write_text("a")
    other.write_text("b")
    versions = {data_version(str(one)), data_version("", str(one)), data_version(str(one), str(other))}
    assert len(versions) == 3
    one.write_text("b")
    assert data_version(str(one)) not in versions
    with pytest.raises(BadInput, match="no such file"):
        data_version(str(tmp_path / "none"))
