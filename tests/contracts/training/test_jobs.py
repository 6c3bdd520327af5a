"""A training's job: what counts as done, and what other machines find of it."""

import errno
import fcntl
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.contracts.tools.manifest import write_json
from components.contracts.training.config import ONE_PROCESS, TrainingConfig
from components.contracts.training.failures import TrainingFailed
from components.contracts.training.jobs import JOB_FILE, JobFolder, open_job, run_job, share
from tests.contracts.s3_server import s3_server

RESULT, LAST = "result", "a-last.json"  # by name the first: order alone would put it before what it stands for
IN_STORE = TrainingConfig.model_validate({"folder": "s3://bucket/jobs", "train_job": {}})


@pytest.fixture
def objects(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bytes]]:
    found: dict[str, bytes] = {}
    with s3_server(found) as endpoint:
        variables = {"ENDPOINT_URL": endpoint, "ACCESS_KEY_ID": "id", "SECRET_ACCESS_KEY": "key", "REGION": "r"}
        for name, value in variables.items():
            monkeypatch.setenv(f"AWS_{name}", value)
        yield found


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ARCHIPELAGO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def write(job: Path) -> None:
    write_json(job / JOB_FILE, {"what": "ever"})


def is_done(job: Path) -> bool:
    return (job / RESULT / LAST).is_file()


def train(job: JobFolder) -> None:
    (job.path / RESULT).mkdir()
    for name in ("weights", LAST):
        (job.path / RESULT / name).write_text(name)
    job.keep_folder(RESULT, LAST)


def test_a_result_is_there_whole_or_not_at_all(objects: dict[str, bytes], cache: Path, tmp_path: Path) -> None:
    """A machine that goes while it uploads leaves files, and none that says that the others are there."""
    where = TrainingConfig(folder="s3://bucket/jobs")
    job = run_job("kind", write, "module", train, is_done, where)
    kept = [name for name in objects if f"/{RESULT}/" in name]
    assert [Path(name).name for name in kept] == ["weights", LAST]
    del objects[kept[1]]
    cache.rename(tmp_path / "lost")
    assert not is_done(open_job(job.location).path)


def test_a_claim_without_locks_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NFS, which most claims of many pods are, gives no lock on a folder."""
    monkeypatch.setattr("components.contracts.locations.CLAIMS", tmp_path / "claims")
    (tmp_path / "claims" / "c").mkdir(parents=True)
    lock = fcntl.flock

    def flock(handle: int, how: int) -> None:
        if str(tmp_path / "claims") in str(Path(f"/proc/self/fd/{handle}").readlink()):
            raise OSError(errno.EBADF, "Bad file descriptor")
        lock(handle, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    job = run_job("kind", write, "module", train, is_done, TrainingConfig(folder="pvc://c/jobs"))
    assert is_done(job.path)


def test_what_is_done_is_not_begun_again(cache: Path) -> None:
    run_job("kind", write, "module", train, is_done, ONE_PROCESS)
    run_job("kind", write, "module", lambda job: pytest.fail("begun"), is_done, ONE_PROCESS)


def test_a_training_that_leaves_nothing_is_an_error(cache: Path) -> None:
    with pytest.raises(TrainingFailed, match="kind ended without an error, and without a result at "):
        run_job("kind", write, "module", lambda job: None, is_done, ONE_PROCESS)


def test_weights_are_put_once_where_all_pods_find_them(objects: dict[str, bytes], tmp_path: Path) -> None:
    folder = tmp_path / "expert"
    folder.mkdir()
    for name in ("weights", LAST):
        (folder / name).write_text(name)
    assert share(folder, "experts/0123", LAST, ONE_PROCESS) == str(folder)
    assert objects == {}
    assert share(folder, "experts/0123", LAST, IN_STORE) == "s3://bucket/jobs/experts/0123"
    assert list(objects) == ["jobs/experts/0123/weights", f"jobs/experts/0123/{LAST}"]


def test_on_a_claim_they_appear_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("components.contracts.locations.CLAIMS", tmp_path / "claims")
    (tmp_path / "claims" / "c").mkdir(parents=True)
    folder = tmp_path / "expert"
    folder.mkdir()
    (folder / LAST).write_text("")
    training = TrainingConfig.model_validate({"folder": "pvc://c/jobs", "train_job": {}})
    for _ in range(2):
        assert share(folder, "experts/0123", LAST, training) == "pvc://c/jobs/experts/0123"
    assert [path.name for path in (tmp_path / "claims" / "c" / "jobs" / "experts").iterdir()] == ["0123"]
