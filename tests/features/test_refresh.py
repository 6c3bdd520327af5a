"""A served release's features, refreshed in a real Redis: what is then read is what a point-in-time join gives now."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import redis

from components.contracts.errors import BadInput
from components.contracts.features import feature_schema
from components.contracts.releases import file_digests, release_digest, sealed
from components.contracts.text import TEXT_VERSION
from components.contracts.tools.manifest import read_json, write_json
from components.features import component
from components.features.config import FeaturesConfig
from components.features.latest import latest_slice
from components.features.refresh import refresh
from components.features.tables import build_feature_tables
from components.relevance.component import find_scores
from feature_repo.online import fresh_as_of, project_of
from feature_repo.store import connect
from serving.transformer.online_store import OnlineFeatures, build_online_store, connect_built
from tests.features.toy_log import AS_OF, write_toy_log
from tests.serving.transformer.test_online_store import assert_no_skew, pushed_row

ITEMS = [f"i{i}" for i in range(30)]
DAYS = 3
BEFORE = AS_OF - timedelta(days=DAYS)


class World:
    """Feature tables as of then and now, a release that carries then's, and now's log."""

    def __init__(self, root: Path) -> None:
        log, scores = write_toy_log(root)
        self.scores = scores
        self.now, self.then, self.release = root / "now", root / "then", root / "release"
        build_feature_tables(log, scores, FeaturesConfig(), AS_OF, self.now)
        build_feature_tables(log, scores, FeaturesConfig(), BEFORE, self.then)
        self._change_a_price_and_a_score()
        latest_slice(self.then, BEFORE, self.release / "features")
        files = file_digests(self.release)
        facts = {"kind": "search-release", "files": files, "digest": release_digest(files)}
        write_json(
            self.release / "manifest.json",
            sealed(facts | {"feature_schema": feature_schema(), "text_version": TEXT_VERSION}),
        )
        self.name = release_digest(files)[:12]

    def _change_a_price_and_a_score(self) -> None:
        """As if then's catalogue and scores had been others, and one item not there yet."""
        for view, column in (("item_profile", "price_log"), ("relevance", "relevance"), ("item_stats", None)):
            file = self.then / f"{view}.parquet"
            table = pq.read_table(file)
            rows = table.to_pandas().query("item_id != 'i3'")
            if column:
                rows[column] = rows[column] / 2
            pq.write_table(pa.Table.from_pandas(rows, table.schema, preserve_index=False), file)

    def serve(self, state: Path, online: str) -> OnlineFeatures:
        """The store as a server of the release fills it when it starts."""
        build_online_store(self.release / "features", state, online, self.name)
        return OnlineFeatures(state)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("refresh"))


def test_a_refreshed_store_answers_as_a_join_does_now(world: World, tmp_path: Path, redis_address: str) -> None:
    online = world.serve(tmp_path / "state", redis_address)
    assert online.as_of == BEFORE
    with pytest.raises(AssertionError):  # the release's own features are three days old
        assert_no_skew(online, world.now, ITEMS)
    done = refresh(world.now, str(world.release), redis_address)
    assert (done.release, done.since, done.as_of) == (world.name, BEFORE, AS_OF)
    again = OnlineFeatures(tmp_path / "state")
    assert_no_skew(again, world.now, ITEMS)
    assert again.as_of == AS_OF
    online.check()  # a server that runs on sees it, too
    assert online.as_of == AS_OF


def test_what_has_not_changed_is_not_written_again(world: World, tmp_path: Path, redis_address: str) -> None:
    world.serve(tmp_path / "state", redis_address)
    rows = refresh(world.now, str(world.release), redis_address).rows
    for view in ("user_sequences", "item_stats"):
        assert 0 < rows[view] < pq.read_metadata(world.now / f"{view}.parquet").num_rows / 4
    assert refresh(world.now, str(world.release), redis_address).rows == {}
    older = refresh(world.then, str(world.release), redis_address)
    assert (older.rows, older.as_of) == ({}, AS_OF)


def test_a_server_that_starts_later_undoes_nothing(world: World, tmp_path: Path, redis_address: str) -> None:
    world.serve(tmp_path / "first", redis_address)
    refresh(world.now, str(world.release), redis_address)
    assert_no_skew(world.serve(tmp_path / "second", redis_address), world.now, ITEMS)


def test_a_store_that_lost_all_is_made_good_by_the_next_refresh(
    world: World, tmp_path: Path, redis_address: str
) -> None:
    state = tmp_path / "state"
    world.serve(state, redis_address)
    refresh(world.now, str(world.release), redis_address)
    redis.Redis.from_url(redis_address).flushall()
    assert world.serve(state, redis_address).as_of == BEFORE
    assert refresh(world.now, str(world.release), redis_address).since == BEFORE
    assert_no_skew(OnlineFeatures(state), world.now, ITEMS)


def test_a_refresh_that_was_cut_off_is_done_again(
    world: World, tmp_path: Path, redis_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from feature_repo import online as filling

    world.serve(tmp_path / "state", redis_address)
    materialise = filling.FeatureStore.materialize

    def ends_early(store: object, start: datetime, end: datetime, views: list[str]) -> None:
        if views == [filling.FRESHNESS]:
            raise KeyboardInterrupt
        materialise(store, start, end, views[:2])

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(filling.FeatureStore, "materialize", ends_early)
        refresh(world.now, str(world.release), redis_address)
    assert refresh(world.now, str(world.release), redis_address).since == BEFORE
    assert_no_skew(OnlineFeatures(tmp_path / "state"), world.now, ITEMS)


def test_what_a_user_clicked_meanwhile_stays(world: World, tmp_path: Path, redis_address: str) -> None:
    online = world.serve(tmp_path / "state", redis_address)
    connect_built(tmp_path / "state").write_to_online_store("user_sequences", pushed_row("u1", 4711))
    refresh(world.now, str(world.release), redis_address)
    assert online.read("u1", 0, "ID:bag", ["i1"])[0]["clicked_items"].tolist() == [[4711] + [0] * 49]


def test_other_features_than_the_release_learned_from_are_refused(
    world: World, tmp_path: Path, redis_address: str
) -> None:
    log, scores = write_toy_log(tmp_path)
    build_feature_tables(log, scores, FeaturesConfig(ctr_prior=0.2), AS_OF, tmp_path / "others")
    with pytest.raises(BadInput, match=r"config .*0\.1.*0\.2"):
        refresh(tmp_path / "others", str(world.release), redis_address)


def test_a_store_of_one_server_is_refused(world: World, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="redis://"):
        refresh(world.now, str(world.release), str(tmp_path / "online.db"))


def test_a_release_of_relevance_alone_is_refused(world: World, tmp_path: Path, redis_address: str) -> None:
    manifest = read_json(world.release / "manifest.json") | {"kind": "relevance-release"}
    write_json(tmp_path / "manifest.json", sealed(manifest))
    with pytest.raises(BadInput, match="relevance alone"):
        refresh(world.now, str(tmp_path), redis_address)


def test_what_was_done_is_said_in_figures(world: World, tmp_path: Path, redis_address: str) -> None:
    world.serve(tmp_path / "state", redis_address)
    done = refresh(world.now, str(world.release), redis_address)
    assert done.age_hours(AS_OF + timedelta(hours=2)) == 2
    assert f"as of {AS_OF:%Y-%m-%d %H:%M} UTC; before: {BEFORE:%Y-%m-%d %H:%M}" in done.text()
    assert f"| user_stats | {done.rows['user_stats']:,} |" in done.text()
    assert "already" in refresh(world.now, str(world.release), redis_address).text()
    assert datetime.now(UTC) > done.as_of


def test_the_step_takes_the_stores_address_from_its_secret_and_says_how_old_features_are(
    world: World, tmp_path: Path, redis_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.serve(tmp_path / "state", redis_address)
    logged: dict[str, float] = {}
    metrics, summary = SimpleNamespace(log_metric=logged.__setitem__), SimpleNamespace(path=str(tmp_path / "s.md"))
    step = {"features": SimpleNamespace(path=str(world.now)), "release": str(world.release), "metrics": metrics}
    monkeypatch.delenv("ARCHIPELAGO_ONLINE_STORE", raising=False)
    with pytest.raises(BadInput, match="ARCHIPELAGO_ONLINE_STORE"):
        component.materialise_features.python_func(**step, summary=summary)
    monkeypatch.setenv("ARCHIPELAGO_ONLINE_STORE", redis_address)
    age = component.materialise_features.python_func(**step, summary=summary)
    assert age == pytest.approx((datetime.now(UTC) - AS_OF).total_seconds() / 3600, abs=0.1)
    assert logged["feature age hours"] == round(age, 2)
    assert logged["rows item_profile"] == 30
    assert "| item_profile | 30 |" in (tmp_path / "s.md").read_text(encoding="utf-8")


def test_the_step_before_it_takes_scores_from_where_they_lie(world: World, tmp_path: Path) -> None:
    scores = SimpleNamespace(path=str(tmp_path / "scores"), metadata={})
    find_scores.python_func(location=f"file://{world.scores}", scores=scores)
    assert (tmp_path / "scores" / "scores.parquet").read_bytes() == (world.scores / "scores.parquet").read_bytes()
    assert scores.metadata["digest"] == read_json(world.scores / "manifest.json")["digest"]


@pytest.fixture
def database() -> Iterator[str]:
    """SQLAlchemy's address of a PostgreSQL of its own, which runs as nobody: as root it would not start."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not programs or os.geteuid() != 0:
        pytest.skip("no postgresql, or not root to start one as another user")
    with tempfile.TemporaryDirectory() as folder, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        shutil.chown(folder, "nobody")
        data, initdb = (
            f"{folder}/data",
            [programs[-1] / "initdb", "--auth=trust", "--encoding=UTF8", "--locale=C", "--username=feast", "-D"],
        )
        subprocess.run([*initdb, data], check=True, capture_output=True, user="nobody", env={})
        server = [programs[-1] / "postgres", "-D", data, "-p", str(port), "-k", folder, "-h", "127.0.0.1"]
        running = subprocess.Popen(server, user="nobody", stderr=subprocess.DEVNULL)
        try:
            for _ in range(200):
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.05)
            yield f"postgresql+psycopg://feast@127.0.0.1:{port}/postgres"
        finally:
            running.send_signal(signal.SIGINT)  # at its SIGTERM it waits for its clients
            running.wait(timeout=20)


def test_a_registry_in_postgresql_knows_the_definitions_of_every_release(
    world: World, tmp_path: Path, redis_address: str, database: str
) -> None:
    world.serve(tmp_path / "state", redis_address)
    for _ in range(2):  # the second finds them there
        refresh(world.now, str(world.release), redis_address, database)
    registered = connect(database, redis_address, project_of(world.name))
    assert {view.name for view in registered.list_feature_views()} >= {"user_stats", "item_stats", "query_pairs"}
    assert fresh_as_of(registered) == AS_OF
    assert_no_skew(OnlineFeatures(tmp_path / "state"), world.now, ITEMS)
