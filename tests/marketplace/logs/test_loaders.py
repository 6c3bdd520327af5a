"""Users' own logs: every accepted format means the same, extra columns stay, judgments may lie apart."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from components.contracts.errors import BadInput
from components.contracts.schemas import JUDGMENTS
from components.contracts.tables import Limits, read_log, read_table
from components.contracts.tools.manifest import read_manifest
from components.marketplace.logs.load import data_end, load_judgments, load_log
from tests.marketplace.logs.user_log import AS_OF, MARKETS, user_tables, write_tables
from tests.marketplace.small_world import AS_OF as SIMULATED_AS_OF


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".csv.gz"])
def test_every_format_means_the_same(suffix: str, tmp_path: Path) -> None:
    data = write_tables(user_tables(), tmp_path / "data", suffix)
    load_log(data, None, MARKETS, AS_OF, tmp_path / "log")
    loaded = read_log(tmp_path / "log", Limits(MARKETS, AS_OF))
    for name, table in user_tables().items():
        found = loaded[name].to_pandas()
        expected = table.astype({"position": "float64"}) if name == "candidates" else table
        pd.testing.assert_frame_equal(found, expected, check_dtype=False, check_like=True)
    assert loaded["items"]["item_id"].to_pylist()[0] == "001", "leading zeros are kept"


def test_windows_end_with_the_data_and_never_after_what_counts_as_now(tmp_path: Path) -> None:
    tables = read_log(write_tables(user_tables(), tmp_path / "data"), Limits(MARKETS, AS_OF))
    early = datetime(2026, 2, 3, 12, tzinfo=UTC)
    assert data_end(tables, early) == early
    assert data_end({name: table.slice(0, 0) for name, table in tables.items()}, AS_OF) == AS_OF


def test_manifest_names_sources_and_markets(tmp_path: Path) -> None:
    data = write_tables(user_tables(), tmp_path / "data")
    end = load_log(data, None, ("TH", "ID"), AS_OF, tmp_path / "log")
    manifest = read_manifest(tmp_path / "log")
    assert manifest["kind"] == "log"
    assert manifest["simulated"] is False
    assert manifest["markets"] == ["TH", "ID"]
    assert manifest["as_of"] == end.isoformat() == "2026-02-04T00:00:00+00:00", "the midnight after the last row"
    assert set(manifest["inputs"]) == set(user_tables())
    assert manifest["metrics"]["rows"]["events"] == 5
    assert manifest["run"]["seconds"] > 0


def test_judgments_given_apart_take_the_place_of_those_inside(tmp_path: Path) -> None:
    tables = user_tables()
    judgments = tables.pop("judgments")
    data = write_tables(tables, tmp_path / "data")
    apart = write_tables({"judgments": judgments.head(2)}, tmp_path / "apart", ".csv")
    load_log(data, apart / "judgments.csv", MARKETS, AS_OF, tmp_path / "log")
    assert pq.read_table(tmp_path / "log" / "judgments.parquet").num_rows == 2
    write_tables({"judgments": judgments}, data)
    load_log(data, apart, MARKETS, AS_OF, tmp_path / "folder")
    assert pq.read_table(tmp_path / "folder" / "judgments.parquet").num_rows == 2


def test_judgments_alone_make_a_log_of_judgments_alone(tmp_path: Path) -> None:
    source = tmp_path / "mine.csv.gz"
    user_tables()["judgments"].assign(language="x").to_csv(source, index=False)
    load_judgments(source, MARKETS, tmp_path / "log")
    names = sorted(path.name for path in (tmp_path / "log").glob("*.*"))
    assert names == ["judgments.parquet", "manifest.json"]
    table = read_table(tmp_path / "log" / "judgments.parquet", JUDGMENTS, Limits(MARKETS))
    assert table["language"].to_pylist() == ["x"] * 3
    assert json.loads((tmp_path / "log" / "manifest.json").read_text())["as_of"] is None
    assert "handed in" in (tmp_path / "log" / "reports" / "marketplace.html").read_text()


def test_a_simulated_log_can_be_handed_in(small_log: Path, tmp_path: Path) -> None:
    load_log(small_log, None, ("ID", "MY", "PH", "SG", "TH", "VN"), SIMULATED_AS_OF, tmp_path / "log")
    for name in ("items", "candidates", "events"):
        loaded, simulated = (pq.read_table(root / f"{name}.parquet") for root in (tmp_path / "log", small_log))
        assert loaded.equals(simulated)


def test_loading_replaces_what_was_there_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "stale.parquet").write_text("old")
    load_log(write_tables(user_tables(), tmp_path / "data"), None, MARKETS, AS_OF, tmp_path / "log")
    assert not (tmp_path / "log" / "stale.parquet").exists()


def test_query_ids_ignore_case_and_spaces_but_nothing_else(tmp_path: Path) -> None:
    judgments = user_tables()["judgments"]
    judgments.loc[1, "query"] = " Kaos  HITAM"
    write_tables({"judgments": judgments}, tmp_path / "same")
    load_judgments(tmp_path / "same", MARKETS, tmp_path / "log")
    judgments.loc[1, "query"] = "kaos putih"
    write_tables({"judgments": judgments}, tmp_path / "other")
    with pytest.raises(BadInput, match=r"query_id: stands for several queries in 2 of 3 rows \(first: 'q1'\)"):
        load_judgments(tmp_path / "other", MARKETS, tmp_path / "log2")
