"""The named worlds: the laptop's stays as it always was, the others keep the contract and hold what they are for."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from components.contracts.schemas import LOG_TABLES
from components.contracts.tables import Limits, read_log
from components.contracts.text import normalise_query
from components.contracts.tools.manifest import tree_digest
from components.marketplace.config import MarketplaceConfig
from components.marketplace.logs.load import load_log
from components.marketplace.simulator.simulate import simulate
from pipelines.profile import load_profile
from tests.marketplace.small_world import AS_OF

WORLDS = ("entire-space", "entire-space-aware", "entire-space-shift")
TEST_DAYS = 3
# Of the small log of the laptop's kind; columns that are added beside these change nothing.
TODAY = {
    "items": "5a3dd04f4bde3a26cbc09d7be434f5beff11bf4c32c4b54ecde9e7b2cd426560",
    "users": "5eeca7f74971073221dbcf1f3a8762533c6d91f4a636a4100c7dd37eb17fd0d9",
    "requests": "215a7a1811ca9b6428b5a0282b7b82505691d96bed046e27a6df0a4eaf6890c1",
    "candidates": "b60ae13b5d5af3388acbacb44035483268508c2c3c52ebe2ab3a784fec88bc02",
    "events": "7f51410c1bde06c7caca5815edd44363726b08a18085a3c058d584869b1c93ac",
    "judgments": "6160c09d9fe52a961555deeec11a97dd70bcc4fa7cc94afd52c2fc5fe0b57d00",
}


def world(name: str, **changes: object) -> MarketplaceConfig:
    """Two markets of a named world."""
    whole = load_profile(name).marketplace.model_dump() | {"markets": ("ID", "TH")} | changes
    return MarketplaceConfig.model_validate(whole)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A log of two markets of each world. Not to be changed."""
    root = tmp_path_factory.mktemp("worlds")
    for name in WORLDS:
        simulate(world(name), AS_OF, root / name)
    return {name: root / name for name in WORLDS}


@pytest.fixture(scope="module")
def log(folders: dict[str, Path]) -> dict[str, pd.DataFrame]:
    """The tables of `entire-space`, each request with the number of its day."""
    tables = {path.stem: pq.read_table(path).to_pandas() for path in folders["entire-space"].glob("*.parquet")}
    tables["requests"]["day"] = (tables["requests"]["timestamp"] - AS_OF).dt.days
    return tables


def content_digest(path: Path, columns: list[str]) -> str:
    """Of a table's rows: another version of the file format has the same."""
    frame = pq.read_table(path).to_pandas()[columns]
    return hashlib.sha256(frame.to_csv(index=False).encode()).hexdigest()


def test_the_laptop_s_world_is_what_it_always_was(small_log: Path) -> None:
    columns = {schema.name: list(schema.columns) for schema in LOG_TABLES}
    assert {name: content_digest(small_log / f"{name}.parquet", of) for name, of in columns.items()} == TODAY


@pytest.mark.parametrize("name", WORLDS)
def test_a_world_passes_the_checks_of_a_user_s_log(name: str, folders: dict[str, Path], tmp_path: Path) -> None:
    read_log(folders[name], Limits(as_of=AS_OF))
    assert load_log(folders[name], None, ["ID", "TH"], AS_OF, tmp_path / "loaded") == AS_OF


def test_the_same_seed_gives_the_same_world_and_another_another(folders: dict[str, Path], tmp_path: Path) -> None:
    simulate(world("entire-space"), AS_OF, tmp_path / "again")
    assert tree_digest(tmp_path / "again") == tree_digest(folders["entire-space"])
    simulate(world("entire-space", seed=8), AS_OF, tmp_path / "other")
    for name in ("requests", "events", "oracle"):
        assert pq.read_table(tmp_path / "other" / f"{name}.parquet") != pq.read_table(
            folders["entire-space"] / f"{name}.parquet"
        )


def test_most_traffic_is_outside_search(log: dict[str, pd.DataFrame]) -> None:
    requests = log["requests"].groupby(["market", "domain"]).size().unstack()
    assert (requests["search"] == 800).all()
    assert (requests["rec"] == 3600).all()
    assert (requests["shop"] == 1600).all()
    events = log["events"]
    assert (events["domain"] != "search").mean() > 0.5
    assert events["request_id"].isna().any()


def test_nothing_is_clicked_before_its_request(log: dict[str, pd.DataFrame]) -> None:
    native = log["events"].dropna(subset="request_id").merge(log["requests"], on="request_id", suffixes=("", "_asked"))
    assert (native["timestamp"] > native["timestamp_asked"]).all()
    assert (native["user_id"] == native["user_id_asked"]).all()
    shown = log["candidates"].dropna(subset="position")
    assert len(native.merge(shown, on=["request_id", "item_id"])) == len(native)


def test_the_test_period_holds_users_items_and_queries_that_training_never_saw(log: dict[str, pd.DataFrame]) -> None:
    requests = log["requests"]
    late = requests["day"] >= -TEST_DAYS
    searches = requests["domain"] == "search"
    listed = log["candidates"].merge(requests, on="request_id")
    keys = requests["market"] + ":" + requests["query"].where(searches, "").map(normalise_query)
    shares = {
        "users": unseen(requests["user_id"][~late], requests["user_id"][late]),
        "queries": unseen(keys[searches & ~late], keys[searches & late]),
        "items": unseen(listed["item_id"][listed["day"] < -TEST_DAYS], listed["item_id"][listed["day"] >= -TEST_DAYS]),
    }
    assert 0.01 < shares["users"] < 0.2, shares
    assert 0.01 < shares["queries"] < 0.2, shares
    assert 0.002 < shares["items"] < 0.1, shares


def unseen(before: pd.Series, after: pd.Series) -> float:
    """Share of the later rows whose value does not occur in the earlier ones."""
    return float((~after.isin(set(before))).mean())


def test_the_truth_covers_every_candidate_of_a_search_and_says_how_likely_a_click_was(
    log: dict[str, pd.DataFrame],
) -> None:
    searched = log["candidates"].merge(log["requests"].query("domain == 'search'"), on="request_id")
    truth = searched.merge(log["oracle"], on=["request_id", "item_id"], validate="one_to_one")
    assert len(truth) == len(searched) == len(log["oracle"])
    clicks = log["events"].query("type == 'click'").dropna(subset="request_id")
    clicked = pd.MultiIndex.from_frame(clicks[["request_id", "item_id"]])
    shown = truth.dropna(subset="position")
    was = pd.MultiIndex.from_frame(shown[["request_id", "item_id"]]).isin(clicked)
    assert was.mean() == pytest.approx(shown["click_chance"].mean(), rel=0.06)
    # Tenths by chance: each is clicked as often as it says.
    tenth = pd.qcut(shown["click_chance"], 10, labels=False)
    by_tenth = pd.DataFrame({"was": was, "said": shown["click_chance"]}).groupby(tenth).mean()
    assert by_tenth["was"].to_numpy() == pytest.approx(by_tenth["said"].to_numpy(), abs=0.03)
    decay = world("entire-space").position_decay
    expected = shown["position"] ** -decay / (1 + np.exp(-shown["utility"]))
    assert shown["click_chance"].to_numpy() == pytest.approx(expected.to_numpy(), rel=1e-4)


def test_the_variants_differ_in_what_they_are_named_for(folders: dict[str, Path]) -> None:
    tables = {
        name: {path.stem: pq.read_table(path).to_pandas() for path in folder.glob("*.parquet")}
        for name, folder in folders.items()
    }
    shown = {}
    for name, frames in tables.items():
        rows = frames["candidates"].merge(frames["oracle"], on=["request_id", "item_id"])
        shown[name] = rows[rows["position"].notna()]["utility"].mean() - rows[rows["position"].isna()]["utility"].mean()
    assert shown["entire-space-aware"] > shown["entire-space"] + 0.5
    assert shown["entire-space-shift"] == pytest.approx(shown["entire-space"], abs=0.3)
    # Tastes elsewhere are drawn beside those in search: the people and their searches are the same ones.
    pd.testing.assert_frame_equal(tables["entire-space"]["users"], tables["entire-space-shift"]["users"])
    pd.testing.assert_frame_equal(tables["entire-space"]["items"], tables["entire-space-shift"]["items"])


def test_a_larger_world_has_more_of_everything() -> None:
    base = load_profile("entire-space").marketplace
    nine = base.scaled(9)
    for name in ("users", "search_requests", "rec_requests", "shop_requests"):
        assert getattr(nine, name) == 9 * getattr(base, name)
    for name in ("items", "queries"):
        assert getattr(nine, name) == 3 * getattr(base, name)
    assert nine.candidates == base.candidates
    assert base.scaled(1) == base
