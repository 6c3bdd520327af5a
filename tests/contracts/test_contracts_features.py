"""One list of features, one way to make tensors of them; and the blend."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from components.contracts.blend import Blend, logit
from components.contracts.features import (
    CATEGORICAL,
    FACTS,
    FEATURES,
    GAP_BUCKETS,
    NUMERIC,
    RELEVANCE_COLUMN,
    SEQUENCE_LENGTH,
    SEQUENCES,
    VIEWS,
    assemble,
    stored_features,
)
from components.contracts.markets import DOMAIN_CODES, DOMAINS, MARKETS, market_codes
from components.contracts.request_time import complete


def columns(n: int) -> dict[str, object]:
    """Values of n rows for every feature."""
    values: dict[str, object] = {f.name: np.arange(n, dtype=np.float64) for f in NUMERIC}
    values |= {f.name: np.arange(n) for f in CATEGORICAL}
    values |= {f.name: [list(range(1, i + 1)) for i in range(n)] for f in SEQUENCES}
    return values


def test_the_list_is_consistent() -> None:
    names = [f.name for f in FEATURES]
    assert len(set(names)) == len(names)
    assert len(NUMERIC) + len(CATEGORICAL) + len(SEQUENCES) == len(FEATURES)
    assert {f.view for f in FEATURES} == {*VIEWS, "request"}
    assert {f.group for f in FEATURES} == {"user", "item", "query", "sequence", "domain"}
    for feature in FEATURES:
        assert (feature.buckets == 0) == (feature.kind == "numeric"), feature.name
        assert not feature.name.startswith(tuple(f"{view}__" for view in VIEWS))
    assert NUMERIC[RELEVANCE_COLUMN].name == "relevance"
    by_name = {f.name: f for f in FEATURES}
    # Codes of one kind share an embedding, such as an item's in a behaviour sequence and as a candidate.
    for table in {f.table for f in FEATURES if f.table}:
        assert len({f.buckets for f in FEATURES if f.table == table}) == 1, table
    assert by_name["clicked_items"].table == by_name["purchased_items"].table == by_name["item_bucket"].table
    assert by_name["domain_code"].buckets > len(DOMAINS)
    for feature in NUMERIC:
        assert feature.unit != "code", feature.name
        assert (f"_{feature.window}d" in feature.name) == bool(feature.window), feature.name
        assert np.isnan(feature.unknown) or feature.unknown == 0
    assert all(f.table and f.unit == "code" for f in (*CATEGORICAL, *SEQUENCES))


def test_what_is_not_stored_is_stated_or_follows_from_what_is() -> None:
    stored = {column.name for column in stored_features()}
    assert sum(len(stored_features(view)) for view in VIEWS) == len(stored_features())
    assert all(stored_features(view) for view in VIEWS)
    assert {fact.name for fact in FACTS} < stored
    completed = complete(stored_row() | {"market_code": [0], "domain_code": [0]}, np.array([AT]))
    assert {f.name for f in FEATURES} <= set(completed)
    assert {f.name for f in FEATURES} - stored - {"market_code", "domain_code"} == {
        f.name for f in FEATURES if f.view == "request" and not f.name.endswith("_code")
    }


AT = 1_767_225_600 + 13 * 3_600 + 59  # Thursday 2026-01-01, 13:00:59 UTC


def stored_row() -> dict[str, object]:
    """A row of stored columns of nobody and nothing that is known."""
    kinds = {"sequence": [], "text": None}
    return {column.name: [kinds.get(column.kind, float("nan"))] for column in stored_features()}


def test_ages_and_gaps_are_counted_to_the_request_s_own_time() -> None:
    row = stored_row() | {"market_code": [0], "domain_code": [0]}
    row |= {"clicked_at": [[AT - 59, AT - 60, AT - 86_400]], "clicked_items": [[3, 2, 1]], "searched_at": [[AT + 5]]}
    row |= {"user_seen_at": [AT - 172_800], "item_seen_at": [0], "item_clicked_at": [AT - 1_800]}
    columns = complete(row, np.array([AT]))
    assert columns["clicked_gaps"][0, :4].tolist() == [1, 2, 6, 0]
    assert columns["searched_gaps"][0, :2].tolist() == [1, 0]  # pushed by a clock that is ahead
    assert columns["user_since_click"].tolist() == [59 / 3_600]
    assert columns["user_since_search"].tolist() == [0]
    assert columns["user_age"].tolist() == [2]
    assert columns["item_since_click"].tolist() == [0.5]
    assert np.isnan([columns["item_age"][0], columns["user_since_purchase"][0], columns["user_since_query"][0]]).all()
    assert (columns["hour"].tolist(), columns["weekday"].tolist()) == ([14], [4])
    assert max(complete(row | {"clicked_at": [[1]]}, np.array([AT]))["clicked_gaps"][0]) == GAP_BUCKETS - 1


def test_pairs_that_are_not_stored_count_nothing_and_shares_follow() -> None:
    row = stored_row() | {"market_code": [0], "domain_code": [0]}
    unknown = complete(row, np.array([AT]))
    assert unknown["query_item_clicks_30d"].tolist() == unknown["user_brand_clicks_30d"].tolist() == [0]
    assert np.isnan([unknown["query_item_ctr_30d"][0], unknown["query_category_share_30d"][0]]).all()
    row |= {"query_clicks_30d": [8.0], "query_ctr_30d": [0.2], "query_category_clicks_30d": [2.0, np.nan]}
    row |= {"query_item_exposures_30d": [10.0, np.nan], "query_item_clicks_30d": [5.0, np.nan]}
    known = complete(row, np.array([AT]))
    assert known["query_category_share_30d"].tolist() == [0.25, 0]
    np.testing.assert_allclose(known["query_item_ctr_30d"], [(5 + 2) / 20, 0.2])
    row |= {"price_log": [3.0, 1.0], "user_price_log_30d": [2.5], "query_clicks_30d": [0.0]}
    assert complete(row, np.array([AT]))["price_gap"].tolist() == [0.5, -1.5]
    assert complete(row, np.array([AT]))["query_category_share_30d"].tolist() == [0, 0]


def test_rows_of_many_requests_are_those_of_each() -> None:
    one = stored_row() | {"market_code": [0], "domain_code": [0], "clicked_at": [[AT - 100]], "item_seen_at": [AT - 9]}
    other = stored_row() | {
        "market_code": [1],
        "domain_code": [2],
        "purchased_at": [[AT - 7]],
        "user_seen_at": [AT - 5],
    }
    together = {name: [*one[name], *other[name]] for name in one}
    both = assemble(complete(together, np.array([AT, AT + 7_200])))
    for place, (row, at) in enumerate(((one, AT), (other, AT + 7_200))):
        alone = assemble(complete(row, np.array([at])))
        for part in ("numeric", "categorical", "sequences"):
            np.testing.assert_array_equal(getattr(both, part)[place : place + 1], getattr(alone, part))


def test_tensors_have_the_declared_order_and_types() -> None:
    tensors = assemble(columns(3))
    assert tensors.numeric.shape == (3, len(NUMERIC))
    assert tensors.numeric.dtype == np.float32
    assert tensors.categorical.shape == (3, len(CATEGORICAL))
    assert tensors.sequences.shape == (3, len(SEQUENCES), SEQUENCE_LENGTH)
    assert tensors.categorical.dtype == tensors.sequences.dtype == np.int64
    assert (tensors.sequences[2, :, :3] == [1, 2, 0]).all()
    changed = columns(3) | {"relevance": np.array([7.0, 8.0, 9.0])}
    assert (assemble(changed).numeric[:, RELEVANCE_COLUMN] == [7, 8, 9]).all()


def test_the_absent_is_nan_zero_or_padding() -> None:
    values = columns(2)
    values |= {"price_log": [None, 1.0], "relevance": [float("nan"), 0.5]}
    values |= {"brand_bucket": [float("nan"), 3], "user_bucket": [None, 4]}
    values |= {"clicked_items": [None, np.array([5, 6])], "purchased_items": [float("nan"), []]}
    tensors = assemble(values)
    names = [f.name for f in NUMERIC]
    assert np.isnan(tensors.numeric[0, [names.index("price_log"), names.index("relevance")]]).all()
    codes = [f.name for f in CATEGORICAL]
    assert tensors.categorical[:, codes.index("brand_bucket")].tolist() == [0, 3]
    assert tensors.categorical[:, codes.index("user_bucket")].tolist() == [0, 4]
    kinds = [f.name for f in SEQUENCES]
    assert tensors.sequences[0].sum() == 0
    assert tensors.sequences[1, kinds.index("clicked_items")].tolist()[:3] == [5, 6, 0]


def test_long_sequences_keep_the_newest() -> None:
    values = columns(1) | {"clicked_items": [list(range(1, 100))]}
    sequence = assemble(values).sequences[0, [f.name for f in SEQUENCES].index("clicked_items")]
    assert sequence.tolist() == list(range(1, SEQUENCE_LENGTH + 1))


def test_frames_and_lists_give_the_same_tensors() -> None:
    frame = pd.DataFrame(columns(4))
    direct, framed = assemble(columns(4)), assemble({name: frame[name] for name in frame})
    for name in ("numeric", "categorical", "sequences"):
        assert (getattr(direct, name) == getattr(framed, name)).all()


def test_no_rows_are_no_problem() -> None:
    assert assemble(columns(0)).sequences.shape == (0, len(SEQUENCES), SEQUENCE_LENGTH)


def test_a_missing_column_is_an_error() -> None:
    values = columns(2)
    del values["relevance"]
    with pytest.raises(KeyError, match="relevance"):
        assemble(values)


def test_market_codes_follow_the_profiles_order() -> None:
    assert market_codes(["TH", "ID"]) == {"TH": 0, "ID": 1}
    assert list(market_codes(MARKETS).values()) == list(range(6))
    assert DOMAIN_CODES == {"search": 0, "rec": 1, "shop": 2}


probabilities = hnp.arrays(np.float32, 5, elements=st.floats(0, 1, width=32))


@given(probabilities, probabilities, probabilities)
def test_blended_scores_are_probabilities_and_grow_with_each_part(
    relevance: np.ndarray, p_click: np.ndarray, p_purchase: np.ndarray
) -> None:
    blend = Blend((0.5, 1.0, 0.25), -0.3, {"ID": 0.4})
    scores = blend.score(relevance, p_click, p_purchase)
    assert scores.dtype == np.float32
    assert ((scores >= 0) & (scores <= 1)).all()
    assert (blend.score(np.ones(5), p_click, p_purchase) >= scores).all()


def test_the_blend_is_the_logistic_of_logits() -> None:
    blend = Blend((1.0, 0.0, 0.0), 0.0, {})
    relevance = np.array([0.1, 0.5, 0.9])
    assert blend.score(relevance, np.zeros(3), np.ones(3)) == pytest.approx(relevance, abs=1e-6)
    assert np.isfinite(logit(np.array([0.0, 1.0]))).all()
    assert logit(np.array([0.5]))[0] == 0


def test_the_blend_survives_its_file(tmp_path: Path) -> None:
    blend = Blend((0.1, 0.2, 0.3), -1.5, {"TH": 0.25})
    blend.save(tmp_path / "blend.json")
    assert Blend.load(tmp_path / "blend.json") == blend
    assert json.loads((tmp_path / "blend.json").read_text())["weights"] == [0.1, 0.2, 0.3]
