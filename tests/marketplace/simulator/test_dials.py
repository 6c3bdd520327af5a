"""Each dial of the simulator moves what it says, and the signals that models are to find are there."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import roc_auc_score

from components.marketplace.config import MarketplaceConfig
from components.marketplace.simulator.catalogue import make_catalogue
from components.marketplace.simulator.queries import make_queries
from components.marketplace.simulator.users import make_users
from tests.marketplace.small_world import AS_OF, Frames, searches_with_clicks

MarketFrames = Callable[..., Frames]


def popularity(frames: Frames) -> pd.Series:
    """Latent log-popularity of each candidate's item, by item id."""
    n_items = len(frames["items"])
    catalogue = make_catalogue(MarketplaceConfig(users=300, items=n_items), frames["items"]["market"][0])
    return pd.Series(catalogue.popularity_PI[0], index=frames["items"]["item_id"])


def test_utility_explains_clicks_and_position_biases_them(market_frames: MarketFrames) -> None:
    rows = searches_with_clicks(market_frames()).query("exposed")
    by_position = rows.groupby("position")["click"].mean()
    assert by_position.iloc[0] > 2 * by_position.iloc[5]
    assert 0.7 < roc_auc_score(rows["click"], rows["utility"]) < 0.95
    # The same utility is clicked less further down.
    similar = rows[rows["utility"].between(-1, 0)].groupby("position")["click"].mean()
    assert similar.loc[1:2].mean() > 1.4 * similar.loc[5:8].mean()


def test_logging_policy_ranks_by_popularity_or_by_utility(market_frames: MarketFrames) -> None:
    figures = {}
    for dial in (0.0, 1.0):
        frames = market_frames(policy_utility=dial)
        rows = searches_with_clicks(frames)
        liked = rows["item_id"].map(popularity(frames))
        figures[dial] = (
            roc_auc_score(rows["exposed"], rows["utility"]),
            roc_auc_score(rows["exposed"], liked),
        )
    (utility_blind, popular), (utility_aware, less_popular) = figures[0.0], figures[1.0]
    assert utility_aware > utility_blind + 0.1
    assert popular > less_popular + 0.1


def test_search_requests_scale_search_data_and_leave_the_world_alone(market_frames: MarketFrames) -> None:
    few, many = market_frames(search_requests=500), market_frames(search_requests=3000)
    for name in ("items", "users", "judgments"):
        pd.testing.assert_frame_equal(few[name], many[name])
    assert (few["requests"]["domain"] == "search").sum() == 500
    assert len(many["oracle"]) == 6 * len(few["oracle"])


def test_domain_shift_turns_browsing_tastes_away_from_search() -> None:
    def agreement(shift: float) -> float:
        config = MarketplaceConfig(users=50, domain_shift=shift)
        users = make_users(config, make_catalogue(config, "MY"))
        return float(np.corrcoef(users.search_affinity_PUI.ravel(), users.browse_affinity_PUI.ravel())[0, 1])

    assert agreement(0.0) == pytest.approx(1.0)
    assert agreement(0.0) > agreement(0.4) > agreement(1.0)
    assert agreement(1.0) < 0.5


def test_elsewhere_dial_sets_how_often_users_return(market_frames: MarketFrames) -> None:
    def returns(share: float) -> int:
        events = market_frames(elsewhere=share)["events"]
        return int((events["request_id"].isna() & (events["type"] == "click")).sum())

    assert returns(0.0) == 0
    assert returns(0.4) == pytest.approx(returns(0.8) / 2, rel=0.15)


def test_returns_are_for_items_that_answer_the_query_unless_noisy(market_frames: MarketFrames) -> None:
    def mean_utility(noise: float) -> float:
        frames = market_frames(elsewhere_noise=noise)
        events = frames["events"]
        wanted = events[events["request_id"].isna()][["user_id", "item_id"]].drop_duplicates()
        return float(searches_with_clicks(frames).merge(wanted, on=["user_id", "item_id"])["utility"].mean())

    overall = searches_with_clicks(market_frames())["utility"].mean()
    assert mean_utility(0.0) > overall + 1
    assert mean_utility(0.0) > mean_utility(1.0) + 1


def test_annotators_err_as_often_as_told(market_frames: MarketFrames) -> None:
    exact = market_frames(annotator_noise=0.0)["judgments"]
    noisy = market_frames(annotator_noise=0.5)["judgments"]
    pairs = exact.merge(noisy, on=["query_id", "item_id"], suffixes=("", "_noisy"))
    assert len(pairs) == len(exact)
    moved = (pairs["grade"] - pairs["grade_noisy"]).abs()
    assert 0.1 < (moved > 0).mean() < 0.6
    assert moved.max() < 0.4, "an annotator is at most one level off"


def test_no_drift_by_default_and_more_with_the_dial(market_frames: MarketFrames) -> None:
    def shift(drift: float) -> tuple[float, float]:
        """Total variation of exposed items, and of queries, between the first three weeks and the last."""
        frames = market_frames(drift=drift, search_requests=6000)
        rows = searches_with_clicks(frames)
        late = rows["timestamp"] >= AS_OF - pd.Timedelta(days=7)
        distances = []
        for column, where in (("item_id", rows["exposed"]), ("query", rows["position"] == 1)):
            before = rows[where & ~late][column].value_counts(normalize=True)
            after = rows[where & late][column].value_counts(normalize=True)
            distances.append(float(before.sub(after, fill_value=0).abs().sum() / 2))
        return distances[0], distances[1]

    (items_still, queries_still), (items_half, queries_half), (items_moved, queries_moved) = map(shift, (0.0, 0.5, 1.0))
    assert items_still < 0.12
    assert queries_still < 0.12
    assert items_half > 1.5 * items_still
    assert queries_half > 1.5 * queries_still
    assert items_moved > items_half
    assert queries_moved > queries_half


def test_drift_moves_prices_and_query_languages_at_its_date(market_frames: MarketFrames) -> None:
    still, moved = market_frames(drift=0.0), market_frames(drift=1.0)
    ratio = np.log(moved["items"]["price"] / still["items"]["price"])
    assert ratio.std() > 0.5
    languages = still["judgments"].drop_duplicates("query").set_index("query")["language"]

    def foreign(frames: Frames, late: bool) -> float:
        searches = frames["requests"].dropna(subset="query")
        chosen = searches[(searches["timestamp"] >= AS_OF - pd.Timedelta(days=7)) == late]
        return float((chosen["query"].map(languages) != "id").mean())

    assert foreign(moved, late=True) > 1.5 * foreign(moved, late=False)
    assert foreign(still, late=True) == pytest.approx(foreign(still, late=False), abs=0.05)


@pytest.mark.parametrize("market", ["ID", "SG", "TH", "VN"])
def test_text_tells_relevance_but_characters_alone_do_not_tell_all(market: str, market_frames: MarketFrames) -> None:
    judged = market_frames(market, annotator_noise=0.0)["judgments"]
    characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4)).fit(
        pd.concat([judged["query"], judged["title"]])
    )
    overlap = characters.transform(judged["query"]).multiply(characters.transform(judged["title"])).sum(axis=1)
    relevant = judged["grade"] >= 0.5
    assert 0.2 < relevant.mean() < 0.6
    assert 0.62 < roc_auc_score(relevant, np.asarray(overlap).ravel()) < 0.9


def test_relevance_matters_to_clicks(market_frames: MarketFrames) -> None:
    config = MarketplaceConfig(users=300, search_requests=3000)
    queries = make_queries(config, make_catalogue(config, "ID"))
    level = {
        (text, f"ID-i{item:05d}"): level
        for text, items, levels in zip(queries.texts, queries.pool_QP, queries.level_QP, strict=True)
        for item, level in zip(items, levels, strict=True)
    }
    rows = searches_with_clicks(market_frames()).query("exposed")
    levels = [level[pair] for pair in zip(rows["query"], rows["item_id"], strict=True)]
    rates = rows.groupby(levels)["click"].mean()
    assert rates[3] > 2 * rates[0]
    assert rates[3] > rates[1]


def test_tastes_show_in_what_users_did_before(market_frames: MarketFrames) -> None:
    """Clicks in any domain before a search predict which of its exposed items is clicked."""
    frames = market_frames(users=80, rec_requests=3000, shop_requests=1000)
    items = frames["items"][["item_id", "category"]]
    split = AS_OF - pd.Timedelta(days=7)
    events = frames["events"].merge(items, on="item_id")
    past = events[(events["type"] == "click") & (events["timestamp"] < split)]
    share = past.groupby("user_id")["category"].value_counts(normalize=True)
    later = searches_with_clicks(frames).query("exposed and timestamp >= @split").merge(items, on="item_id")
    known = later[later["user_id"].isin(past["user_id"])]
    liking = share.reindex(pd.MultiIndex.from_frame(known[["user_id", "category"]])).fillna(0).to_numpy()
    assert roc_auc_score(known["click"], liking) > 0.58
