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
    FEATURES,
    NUMERIC,
    RELEVANCE_COLUMN,
    SEQUENCE_LENGTH,
    SEQUENCES,
    VIEWS,
    assemble,
    stored_features,
)
from components.contracts.markets import DOMAIN_CODES, DOMAINS, MARKETS, market_codes


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
    # An item's code in a behaviour sequence is its code as a candidate: they share an embedding.
    assert by_name["clicked_items"].buckets == by_name["purchased_items"].buckets == by_name["item_bucket"].buckets
    assert by_name["clicked_categories"].buckets == by_name["category_bucket"].buckets
    assert by_name["domain_code"].buckets >= len(DOMAINS)


def test_stored_features_are_those_of_views() -> None:
    assert {f.name for f in FEATURES} - {f.name for f in stored_features()} == {"market_code", "domain_code"}
    assert sum(len(stored_features(view)) for view in VIEWS) == len(stored_features())
    assert all(stored_features(view) for view in VIEWS)


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
