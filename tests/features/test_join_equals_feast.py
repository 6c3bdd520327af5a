"""The join's rows are those of Feast's get_historical_features on the same tables, to the bit."""

from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from components.contracts.features import CATEGORICAL, NUMERIC, VIEWS, Fact, Feature, stored_features
from components.features.config import FeaturesConfig
from components.features.join import join_rows, stored_columns
from components.features.tables import build_feature_tables
from tests.features.feast_join import feast_features
from tests.features.toy_log import AS_OF, MARKETS, write_toy_log
from tests.features.view_tables import write_views

NOON = pd.Timestamp("2026-02-10 12:00", tz="UTC")
TICK = pd.Timedelta(microseconds=1)
_VALUES = {"numeric": [0.0, 0.1, 1e30, None], "categorical": [0, 1, 63, None], "sequence": [[], [3], [5, 4, 3], None]}
_VALUES |= {"time": [0, 1_700_000_000, None], "text": ["category1", "brand2", None]}
# Few keys and instants, so that they meet: rows at exactly a value's time, one tick before and after it.
_KEYS = {"user_id": "u", "item_id": "i", "query_key": "TH:q"}
_MOMENT = st.sampled_from(
    [NOON + days * timedelta(days=1) + ticks * TICK for days in (-9, 0, 1) for ticks in (-1, 0, 1)]
)


def assert_equal(features: Path, rows: pd.DataFrame) -> None:
    """Every stored feature and fact of every row, bit by bit; null and NaN are both unknown."""
    ours, theirs = stored_columns(features, rows, MARKETS)[0], feast_features(features, rows)
    for column in stored_features():
        found, expected = ours[column.name], theirs[column.name]
        if column.kind in ("sequence", "text"):
            assert found.to_pylist() == expected.to_pylist(), column.name
        else:
            np.testing.assert_array_equal(
                found.to_pandas().to_numpy(), expected.to_pandas().to_numpy(), column.name, strict=True
            )


def test_on_the_tables_of_a_log(tmp_path: Path) -> None:
    log, scores = write_toy_log(tmp_path, requests=150)
    build_feature_tables(log, scores, FeaturesConfig(), AS_OF, tmp_path / "features")
    requests = pd.read_parquet(log / "requests.parquet").dropna(subset="query")
    rows = pd.read_parquet(log / "candidates.parquet").merge(requests, on="request_id")
    # Beside the log's instants, those at which values begin, and the ones before.
    begin = pq.read_table(tmp_path / "features" / "user_sequences.parquet")["event_timestamp"].to_pandas()
    moments = pd.concat([begin, begin - TICK]).sample(len(rows), replace=True, random_state=0)
    edges = rows.assign(timestamp=moments.array)
    assert_equal(tmp_path / "features", pd.concat([rows, edges], ignore_index=True))


@settings(deadline=None, max_examples=15)
@given(st.data())
def test_on_any_small_tables(data: st.DataObject) -> None:
    def key(name: str) -> str:
        return _KEYS.get(name, name) + data.draw(st.sampled_from("12"))

    def value(column: Feature | Fact) -> object:
        return data.draw(st.sampled_from(_VALUES[column.kind]))

    tables: dict[str, list[dict[str, object]]] = {}
    for view, keys in VIEWS.items():
        made = {}
        for _ in range(data.draw(st.integers(0, 4))):
            row = {name: key(name) for name in keys} | {"event_timestamp": data.draw(_MOMENT)}
            made[tuple(row.values())] = row | {f.name: value(f) for f in stored_features(view)}
        tables[view] = list(made.values())
    wanted = [
        {name: key(name) for keys in VIEWS.values() for name in keys if name != "query_key"}
        | {"market": "TH", "domain": "search", "query": data.draw(st.sampled_from(["q1", " Q2", "q3"]))}
        | {"timestamp": data.draw(_MOMENT)}
        for _ in range(data.draw(st.integers(1, 6)))
    ]
    with TemporaryDirectory() as folder:
        assert_equal(write_views(Path(folder), **tables), pd.DataFrame(wanted))


def test_naive_times_are_utc_and_unknown_keys_keep_their_rows(tmp_path: Path) -> None:
    seen = [{"user_id": "u1", "event_timestamp": NOON} | {f.name: None for f in stored_features("user_stats")}]
    seen[0]["user_search_clicks_7d"] = 3.0
    features = write_views(tmp_path, user_stats=seen)
    others = {key: "x1" for keys in VIEWS.values() for key in keys if key not in ("user_id", "query_key")}
    rows = pd.DataFrame(
        [
            {"user_id": user, "market": "TH", "domain": "search", "query": "q", "timestamp": time.tz_localize(None)}
            | others
            for user in ("u1", "new")
            for time in (NOON - TICK, NOON)
        ]
    )
    assert_equal(features, rows)
    assert join_rows(features, rows, MARKETS)["user_search_clicks_7d"].dropna().to_list() == [3.0]


def test_of_two_rows_at_one_instant_one_is_taken(tmp_path: Path) -> None:
    """Feast takes any of them, too: no row is joined twice, and features of two rows are never mixed."""
    same = {"user_id": "u1", "event_timestamp": NOON}
    rows = [same | {"user_search_clicks_7d": n, "user_carts_7d": n} for n in (1.0, 2.0)]
    features = write_views(tmp_path, user_stats=rows)
    others = {key: "x1" for keys in VIEWS.values() for key in keys if key not in ("user_id", "query_key")}
    asked = {"user_id": "u1", "market": "TH", "domain": "search", "query": "q", "timestamp": NOON} | others
    joined = join_rows(features, pd.DataFrame([asked] * 3), MARKETS)
    assert len(joined) == 3
    assert set(joined["user_search_clicks_7d"]) <= {1.0, 2.0}
    assert joined["user_search_clicks_7d"].equals(joined["user_carts_7d"].rename("user_search_clicks_7d"))


def test_the_tables_types_reach_the_rows(tmp_path: Path) -> None:
    features = write_views(tmp_path)
    rows = pd.DataFrame([{"user_id": "u", "item_id": "i", "market": "TH", "query": "q", "domain": "rec"}])
    for keys in VIEWS.values():
        rows = rows.assign(**{key: "x" for key in keys if key not in rows and key != "query_key"})
    joined = join_rows(features, rows.assign(timestamp=NOON), MARKETS)
    assert {str(joined[f.name].dtype) for f in NUMERIC} == {"float32"}
    assert {str(joined[f.name].dtype) for f in CATEGORICAL} == {"int64"}
    assert [list(x) for x in joined["clicked_items"]] == [[]]
