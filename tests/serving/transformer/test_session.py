"""What users do is seen by their next search, as the feature tables of the same events would have it."""

import dataclasses
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.contracts.engine import EngineConfig, open_engine
from components.contracts.features import SEQUENCE_LENGTH, SEQUENCES
from components.features.config import FeaturesConfig
from components.features.latest import latest_slice
from components.features.profiles import item_profile
from components.features.sequences import user_sequences
from components.features.source import open_source
from components.features.tables import build_feature_tables
from feature_repo.definitions import PUSH_SOURCE, PUSHED_VIEW
from serving.observe.log_tables import Event
from serving.transformer.online_store import OnlineFeatures, build_online_store, connect_built
from serving.transformer.session import Session
from tests.features.toy_log import AS_OF, write_toy_log

ROOT = Path(__file__).resolve().parents[3]
NAMES = [feature.name for feature in SEQUENCES if feature.view == PUSHED_VIEW]
USERS = ("u0", "u1", "stranger")


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """log, scores; latest: what a release carries; state: its online store."""
    root = tmp_path_factory.mktemp("session")
    log, scores = write_toy_log(root)
    build_feature_tables(log, scores, FeaturesConfig(), AS_OF, root / "features")
    latest_slice(root / "features", AS_OF, root / "latest")
    build_online_store(root / "latest", root / "state")
    return root


@pytest.fixture
def state(release: Path, tmp_path: Path) -> Path:
    shutil.copytree(release / "state", tmp_path / "state")
    return tmp_path / "state"


def event(number: int, user: str, item: str, kind: str, moment: datetime) -> Event:
    return Event(f"z{number:06d}", user, item, "search", None, kind, moment)


def sequences(online: OnlineFeatures, user: str) -> dict[str, list[int]]:
    """A user's sequences as a search reads them, without padding."""
    columns, _ = online.read(user, 0, "ID:bag", ["i1"])
    return {name: [code for code in columns[name][0].tolist() if code] for name in NAMES}


def in_batch(release: Path, events: Sequence[Event]) -> dict[str, dict[str, list[int]]]:
    """Sequences of each user by the feature tables' own definition, over the log and these events."""
    logged = pq.read_table(release / "log" / "events.parquet").to_pandas()
    new = pd.DataFrame([dataclasses.asdict(each) for each in events])[list(logged.columns)]
    both = pd.concat([logged, new], ignore_index=True)
    both["timestamp"] = both["timestamp"].astype("datetime64[us, UTC]")
    with open_engine(EngineConfig()) as engine:
        source = open_source(engine, release / "log", release / "scores")
        tables = dataclasses.replace(source, events=engine.load("events", pa.Table.from_pandas(both)))
        config = FeaturesConfig()
        items = item_profile(source, config, AS_OF)
        rows = user_sequences(tables, items, config).to_pandas().sort_values("event_timestamp")
    newest = rows.drop_duplicates("user_id", keep="last").set_index("user_id")
    return {
        user: {name: list(newest.loc[user, name])[:SEQUENCE_LENGTH] if user in newest.index else [] for name in NAMES}
        for user in USERS
    }


# (user, item, type, microseconds since the event before, whether it is posted apart from it)
drawn = st.lists(
    st.tuples(
        st.sampled_from(USERS),
        st.integers(0, 29).map("i{}".format),
        st.sampled_from(["click", "cart", "purchase", "impression"]),
        st.sampled_from([0, 1, 999, 1_000_000, 86_400_000_000]),
        st.booleans(),
    ),
    min_size=1,
    max_size=60,
)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=drawn, shuffle=st.randoms(use_true_random=False))
def test_pushed_sequences_are_those_of_the_feature_tables(
    release: Path, tmp_path_factory: pytest.TempPathFactory, drawn, shuffle
) -> None:
    state = tmp_path_factory.mktemp("pushed") / "state"
    shutil.copytree(release / "state", state)
    moment, posts = AS_OF + timedelta(minutes=1), [[]]
    for number, (user, item, kind, later, apart) in enumerate(drawn):
        moment += timedelta(microseconds=later)
        if apart and posts[-1]:
            posts.append([])
        posts[-1].append(event(number, user, item, kind, moment))
    session = Session(state)
    for post in posts:
        shuffle.shuffle(post)
        session.push(post)
    online = OnlineFeatures(state)
    lasting = [e for post in posts for e in post if e.type in ("click", "purchase")]
    expected = in_batch(release, lasting or [event(0, "nobody", "i0", "click", AS_OF)])
    for user in USERS:
        assert sequences(online, user) == expected[user]


def test_the_next_read_sees_a_click_and_other_features_stay(state: Path) -> None:
    online, session = OnlineFeatures(state), Session(state)
    before, known = online.read("u1", 0, "ID:bag", ["i7"])
    session.push([event(1, "u1", "i7", "click", AS_OF + timedelta(days=1))])
    after, still_known = online.read("u1", 0, "ID:bag", ["i7"])
    assert known
    assert still_known
    item, category = (after[name][0] for name in ("item_bucket", "category_bucket"))
    assert after["clicked_items"][0].tolist() == [item, *before["clicked_items"][0].tolist()[:-1]]
    assert after["clicked_categories"][0].tolist() == [category, *before["clicked_categories"][0].tolist()[:-1]]
    for name in before:
        if not name.startswith("clicked_") and name != "user_since_click":
            np.testing.assert_array_equal(after[name], before[name], err_msg=name)


def test_items_that_the_store_does_not_know_are_left_out(state: Path) -> None:
    online, session = OnlineFeatures(state), Session(state)
    before = sequences(online, "u1")
    session.push([event(1, "u1", "nowhere", "click", AS_OF + timedelta(days=1))])
    assert sequences(online, "u1") == before
    session.push([event(2, "u1", "i3", "cart", AS_OF + timedelta(days=1))])
    assert sequences(online, "u1") == before


def test_pushed_rows_survive_a_restart_and_not_another_release(release: Path, state: Path, tmp_path: Path) -> None:
    Session(state).push([event(1, "stranger", "i3", "click", AS_OF + timedelta(days=1))])
    build_online_store(release / "latest", state)
    assert len(sequences(OnlineFeatures(state), "stranger")["clicked_items"]) == 1
    latest_slice(release / "features", AS_OF - timedelta(days=3), tmp_path / "other")
    build_online_store(tmp_path / "other", state)
    assert sequences(OnlineFeatures(state), "stranger")["clicked_items"] == []


def test_feasts_own_push_writes_the_same_row(state: Path) -> None:
    moment = AS_OF + timedelta(days=1)
    Session(state).push([event(1, "stranger", "i3", "click", moment)])
    online = OnlineFeatures(state)
    pushed = sequences(online, "stranger")
    times = {"clicked_at": [int(moment.timestamp())], "purchased_at": []}
    row = {name: [values] for name, values in (pushed | times).items()}
    times = {"event_timestamp": [moment + timedelta(microseconds=1)]}
    connect_built(state).push(PUSH_SOURCE, pd.DataFrame({"user_id": ["somebody"]} | row | times))
    assert sequences(online, "somebody") == pushed
    ours, theirs = (online.read(user, 0, "ID:bag", ["i1"], moment)[0] for user in ("stranger", "somebody"))
    assert ours["clicked_gaps"].tolist() == theirs["clicked_gaps"].tolist()
    assert len(pushed["clicked_items"]) == 1


CLICKS = """
import sys
from datetime import datetime, timedelta, UTC
from pathlib import Path
from feature_repo.definitions import PUSH_SOURCE
from serving.observe.log_tables import Event
from serving.transformer.session import Session
session = Session(Path(sys.argv[1]))
for number in range(10):
    place = int(sys.argv[2]) * 10 + number
    moment = datetime(2026, 4, 1, tzinfo=UTC) + timedelta(seconds=place)
    session.push([Event(f"e{place}", "stranger", f"i{place}", "search", None, "click", moment)])
"""


def test_two_processes_lose_no_event_of_one_user(state: Path) -> None:
    command = [sys.executable, "-c", CLICKS, str(state)]
    workers = [subprocess.Popen([*command, str(number)], cwd=ROOT) for number in range(2)]
    assert [worker.wait(timeout=120) for worker in workers] == [0, 0]
    online = OnlineFeatures(state)
    clicked = sequences(online, "stranger")["clicked_items"]
    buckets = online.read("stranger", 0, "ID:bag", [f"i{i}" for i in range(20)])[0]["item_bucket"]
    assert sorted(clicked) == sorted(buckets.tolist())


def test_redis_keeps_every_event_however_close_or_late(release: Path, tmp_path: Path, redis_address: str) -> None:
    build_online_store(release / "latest", tmp_path / "state", online=redis_address)
    session, online = Session(tmp_path / "state"), OnlineFeatures(tmp_path / "state")
    moment = AS_OF + timedelta(days=1)
    # In one instant, a microsecond apart, and one that comes an hour late: Redis takes no row that is not newer.
    moments = [moment, moment, moment + timedelta(microseconds=1), moment - timedelta(hours=1)]
    for number, at in enumerate(moments):
        session.push([event(number, "stranger", f"i{number}", "click", at)])
        assert len(sequences(online, "stranger")["clicked_items"]) == number + 1
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda n: Session(tmp_path / "state").push([event(n, "u9", f"i{n}", "click", moment)]), range(8)))
    buckets = online.read("u9", 0, "ID:bag", [f"i{i}" for i in range(8)])[0]["item_bucket"]
    assert sorted(sequences(online, "u9")["clicked_items"][:8]) == sorted(buckets.tolist())
