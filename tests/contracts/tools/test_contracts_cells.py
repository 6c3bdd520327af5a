"""Figures as people read them."""

import math
import re
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.contracts.tools.cells import NOTHING, Estimate, interval, is_number, spell

FLOATS = st.floats(min_value=-1e9, max_value=1e9, allow_nan=False)


def parsed(text: str) -> float:
    return float(text.replace(",", "").removesuffix(" %"))


@given(FLOATS)
def test_a_number_keeps_its_value_to_three_digits_and_shows_no_more(value: float) -> None:
    text = spell(value)
    assert math.isclose(parsed(text), value, rel_tol=0.05 if abs(value) < 0.01 else 0.0051, abs_tol=1e-300)
    if abs(value) < 1000:
        assert len(re.sub(r"^-?0?\.?0*|e.*|\.", "", text)) <= 3, text


@given(st.floats(min_value=0, max_value=1))
def test_a_share_is_a_percentage(value: float) -> None:
    text = spell(value, "percent")
    assert text.endswith(" %") and math.isclose(parsed(text), 100 * value, rel_tol=0.051, abs_tol=1e-300)


@given(st.floats(min_value=-1, max_value=1))
def test_points_show_which_way_they_go(value: float) -> None:
    text = spell(value, "points")
    assert re.fullmatch(r"[+-]\d+\.\d\d", text) and abs(float(text) - 100 * value) <= 0.0051


@given(st.integers(min_value=-(10**12), max_value=10**12))
def test_a_whole_number_keeps_every_digit(value: int) -> None:
    assert int(spell(value).replace(",", "")) == value == int(spell(np.int64(value)).replace(",", ""))


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.123456, "number", "0.123"),
        (0.99961, "number", "1.00"),
        (0.0, "number", "0"),
        (0.00234, "number", "0.0023"),
        (0.000021, "number", "2.1e-05"),
        (152340.0, "number", "152,000"),
        (1.0, "percent", "100 %"),
        (0.3425, "percent", "34.2 %"),
        (1234.56, "price", "1,235"),
        (12.5, "price", "12.50"),
        (None, "number", NOTHING),
        (float("nan"), "percent", NOTHING),
        (pd.NaT, "number", NOTHING),
        (True, "number", "yes"),
        (datetime(2026, 1, 31, 5, tzinfo=UTC), "number", "2026-01-31 05:00"),
        ("dlrm_exposed", "number", "dlrm_exposed"),
        (Estimate(0.0123, -0.001, 0.02), "points", "+1.23 (-0.10 to +2.00)"),
        (Estimate(0.75, None, None), "number", "0.750"),
    ],
)
def test_cells(value, unit, text: str) -> None:
    assert spell(value, unit) == text


def test_a_missing_interval_is_no_interval() -> None:
    assert interval(Estimate.of(0.5, None)) == interval(Estimate.of(0.5, [None, None])) == ""
    assert interval(Estimate.of(0.5, [0.4, 0.6])) == "0.400 to 0.600"


@pytest.mark.parametrize(
    ("bounds", "open_"), [((0.1, 0.2), False), ((-0.2, -0.1), False), ((-0.1, 0.1), True), ((None, None), True)]
)
def test_an_interval_around_zero_decides_nothing(bounds, open_: bool) -> None:
    assert Estimate(0.1, *bounds).holds_zero is open_


def test_numbers_are_told_from_text() -> None:
    assert all(map(is_number, (1, 0.5, np.float32(1), Estimate(1.0, None, None))))
    assert not any(map(is_number, ("1", True, None, datetime(2026, 1, 1, tzinfo=UTC))))
