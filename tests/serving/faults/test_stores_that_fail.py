"""An online store that is locked, moved, cut, emptied or gone: 503 and not ready, and back without a restart."""

import shutil
import signal
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import redis as redis_client

import serving
from components.contracts.tools.manifest import read_manifest, tree_digest, write_json
from serving import client
from serving.local.check import check_serving
from serving.local.launcher import Service, serve_release
from serving.release import open_release
from tests.release.tiny_release import Tiny
from tests.serving.faults.faulty import is_ready, reseal, seconds_until

pytestmark = pytest.mark.slow


class Asker:
    """Asks a search whose answer is known."""

    def __init__(self, service: Service, release: Path) -> None:
        golden = pq.read_table(release / "golden" / "search.parquet").to_pandas()
        self.rows = golden[(golden["kind"] == "stored") & golden["user_known"]].groupby("request").get_group(0)
        self._service = service
        first = self.rows.iloc[0]
        texts = {"market": [first["market"]], "user_id": [first["user_id"]], "query": [first["query"]]}
        inputs = texts | {"item_ids": self.rows["item_id"].tolist()}
        self._inputs = [
            {"name": name, "datatype": "BYTES", "shape": [len(texts)], "data": texts} for name, texts in inputs.items()
        ]

    def status(self) -> int:
        answer = httpx.post(f"{self._service.url}/v2/models/search/infer", json={"inputs": self._inputs}, timeout=60)
        if answer.is_success:
            assert answer.json()["parameters"]["user_known"] is True
        return answer.status_code


def store_of(state: Path) -> Path:
    return next(state.glob("*/online_store/online.db"))


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
def service(tiny: Tiny, state: Path) -> Iterator[Service]:
    with serve_release(tiny.search, state) as running:
        yield running


def test_a_locked_store(service: Service, tiny: Tiny, state: Path) -> None:
    seconds_until(lambda: is_ready(service), 20)
    asker = Asker(service, tiny.search)
    other = sqlite3.connect(store_of(state), isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    gone = seconds_until(lambda: not is_ready(service), 10)
    assert asker.status() == 503
    other.execute("ROLLBACK")
    back = seconds_until(lambda: is_ready(service), 10)
    print(f"locked: not ready after {gone:.1f} s, ready {back:.1f} s after the lock went")
    assert asker.status() == 200


@pytest.mark.parametrize("how", ["moved", "cut", "overwritten"])
def test_a_lost_store_is_built_anew(service: Service, tiny: Tiny, state: Path, how: str) -> None:
    seconds_until(lambda: is_ready(service), 20)
    asker, store = Asker(service, tiny.search), store_of(state)
    assert asker.status() == 200
    if how == "moved":
        store.rename(state / "elsewhere.db")
    elif how == "cut":
        with store.open("r+b") as file:
            file.truncate(store.stat().st_size // 2)
    else:
        shutil.copyfile(Path(__file__), store)
    gone = seconds_until(lambda: not is_ready(service), 10)
    back = seconds_until(lambda: is_ready(service), 30)
    print(f"{how}: not ready after {gone:.1f} s, ready {back:.1f} s later")
    assert asker.status() == 200
    check_serving(tiny.search, service.url)


@pytest.mark.parametrize("how", ["cut", "emptied"])
def test_a_damaged_store_is_not_trusted_at_the_start(tiny: Tiny, tmp_path: Path, how: str) -> None:
    with serve_release(tiny.search, tmp_path):
        pass
    store = store_of(tmp_path)
    if how == "cut":
        with store.open("r+b") as file:
            file.truncate(store.stat().st_size // 2)
    else:
        with sqlite3.connect(store) as other:
            table = next(name for (name,) in other.execute("SELECT name FROM sqlite_master") if "user_stats" in name)
            other.execute(f'DELETE FROM "{table}"')
    with serve_release(tiny.search, tmp_path) as service:
        check_serving(tiny.search, service.url)


class Redis:
    """A real server that can be ended and started again on its port."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._folder = folder
        self.start()

    def start(self) -> None:
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder)]
        self._server = subprocess.Popen([*command, "--save", ""], stdout=subprocess.DEVNULL)
        seconds_until(lambda: socket.socket().connect_ex(("127.0.0.1", self.port)) == 0, 10)

    def stop(self, save: bool = False) -> None:
        if save:
            subprocess.run(["redis-cli", "-p", str(self.port), "save"], check=True, capture_output=True)
        self._server.send_signal(signal.SIGTERM)
        self._server.wait(10)


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    if shutil.which("redis-server") is None:
        pytest.skip("no redis-server on PATH")
    server = Redis(tmp_path)
    yield server
    server.stop()


def test_redis_goes_and_comes_back(tiny: Tiny, tmp_path: Path, redis: Redis) -> None:
    with serve_release(tiny.search, tmp_path / "state", online=f"redis://127.0.0.1:{redis.port}") as service:
        seconds_until(lambda: is_ready(service), 20)
        pids, asker = dict(service.pids), Asker(service, tiny.search)
        for save in (True, False):  # with what it held, and with nothing
            redis.stop(save)
            if not save:
                (tmp_path / "dump.rdb").unlink(missing_ok=True)
            assert asker.status() == 503
            gone = seconds_until(lambda: not is_ready(service), 5)
            redis.start()
            back = seconds_until(lambda: is_ready(service), 30)
            held = "kept" if save else "empty"
            print(f"Redis, {held}: not ready after {gone:.1f} s, ready {back:.1f} s after its start")
            assert asker.status() == 200
            check_serving(tiny.search, service.url)
        assert service.pids == pids


def without_user(release: Path, user: str, target: Path) -> Path:
    """The same release but for one user, of whom it knows nothing."""
    shutil.copytree(release, target)
    for path in target.glob("features/user_*.parquet"):
        table = pq.read_table(path)
        path.chmod(0o644)
        pq.write_table(table.filter(pc.field("user_id") != user), path)
    manifest = read_manifest(target / "features")
    write_json(target / "features" / "manifest.json", manifest | {"digest": tree_digest(target / "features")})
    reseal(target)
    return target


def test_two_releases_share_one_redis(tiny: Tiny, tmp_path: Path, redis: Redis) -> None:
    address = f"redis://127.0.0.1:{redis.port}"
    with serve_release(tiny.search, tmp_path / "one", online=address) as first:
        known = Asker(first, tiny.search)
        user = known.rows.iloc[0]["user_id"]
        second = without_user(tiny.search, user, tmp_path / "second")
        with serve_release(second, tmp_path / "two", online=address) as canary:
            row = known.rows.iloc[0]
            page = client.search(canary.url, row["market"], user, row["query"], known.rows["item_id"].tolist())
            assert page.user_known is False
            check_serving(tiny.search, first.url)
            keys = redis_keys(redis.port)
            names = {open_release(release).name for release in (tiny.search, second)}
            assert {key.rpartition(b"archipelago_")[2].decode() for key in keys} == names
        page = (Path(serving.__file__).parent / "README.md").read_text()
        remove = page.partition("redis-cli EVAL ")[2].partition("\n```")[0]
        (second_name,) = names - {tiny.search.name}
        command = f"redis-cli -p {redis.port} EVAL {remove.replace('<release>', second_name)}"
        subprocess.run(["bash", "-c", command], check=True)
        assert {key.rpartition(b"archipelago_")[2].decode() for key in redis_keys(redis.port)} == {tiny.search.name}
        check_serving(tiny.search, first.url)


def redis_keys(port: int) -> list[bytes]:
    with redis_client.Redis(port=port) as connected:
        return list(connected.scan_iter())
