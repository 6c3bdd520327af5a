"""Comparing two frames market by market: what drifts, what does not, and what cannot be said."""

import numpy as np
import pandas as pd
import pytest

from components.monitoring.columns import ColumnSpec, compare_columns, limit_categories
from components.monitoring.findings import Finding, judge_markets, summarise
from tests.monitoring.drift_world import CONFIG

PRICE = ColumnSpec("price", "numeric", entity="user_id")
BRAND = ColumnSpec("brand", "categorical", entity="user_id")


def _frame(seed: int, market: str = "TH", rows: int = 2000, shift: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "market": market,
            "user_id": [f"{market}{i}" for i in rng.integers(0, 300, rows)],
            "price": rng.normal(shift, 1, rows),
            "brand": rng.choice(["a", "b", "c"], rows, p=[0.6 - shift / 2, 0.3, 0.1 + shift / 2]),
        }
    )


def _found(findings: list[Finding], **wanted: str) -> Finding:
    (finding,) = [f for f in findings if all(getattr(f, key) == value for key, value in wanted.items())]
    return finding


def test_a_shift_is_found_in_its_market_alone() -> None:
    reference = pd.concat([_frame(0), _frame(1, "VN")])
    current = pd.concat([_frame(2), _frame(3, "VN", shift=0.8)])
    findings = compare_columns(reference, current, [PRICE, BRAND], CONFIG).findings
    drifted = {(f.market, f.column) for f in findings if f.drifted}
    assert {("VN", "price"), ("VN", "brand")} <= drifted
    assert not any(market == "TH" for market, _ in drifted)
    assert {market: v.drifted for market, v in judge_markets(findings, CONFIG).items()}["TH"] is False


def test_missing_values_are_compared_as_a_share_and_left_out_of_the_distribution() -> None:
    reference, current = _frame(0), _frame(1)
    current.loc[::2, "price"] = np.nan
    current.loc[1::40, "price"] = np.inf
    findings = compare_columns(reference, current, [PRICE], CONFIG).findings
    missing = _found(findings, scope="missing")
    assert missing.drifted and missing.score == pytest.approx(0.525)
    distribution = _found(findings, scope="feature")
    assert not distribution.drifted and distribution.rows_current == 950


def test_values_missing_throughout_one_window_drift_and_the_distribution_is_untested() -> None:
    reference, current = _frame(0), _frame(1).assign(price=np.nan, brand=None)
    findings = compare_columns(reference, current, [PRICE, BRAND], CONFIG).findings
    for column in ("price", "brand"):
        assert _found(findings, scope="missing", column=column).drifted
        untested = _found(findings, scope="feature", column=column)
        assert untested.score is None and "0 current values" in untested.why


def test_a_column_without_any_value_is_untested_and_does_not_drift() -> None:
    empty = [_frame(seed).assign(price=np.nan) for seed in (0, 1)]
    (finding,) = compare_columns(*empty, [PRICE], CONFIG).findings
    assert finding.score is None and not finding.drifted


def test_a_market_with_too_few_rows_is_reported_and_not_passed() -> None:
    reference = pd.concat([_frame(0), _frame(1, "VN", rows=CONFIG.min_rows - 1)])
    current = pd.concat([_frame(2), _frame(3, "VN")])
    summary = summarise("search", compare_columns(reference, current, [PRICE], CONFIG).findings, CONFIG, {}, None)
    assert [(entry["market"], entry["scope"]) for entry in summary["untested"]] == [("VN", "market")]
    assert "199 reference and 2000 current rows, 200 needed" in summary["untested"][0]["why"]
    assert summary["shares"]["VN"]["tested"] == 0


def test_a_market_of_one_window_only_is_reported() -> None:
    findings = compare_columns(_frame(0), pd.concat([_frame(1), _frame(2, "VN")]), [PRICE], CONFIG).findings
    assert "0 reference" in _found(findings, market="VN").why


def test_a_changed_mix_of_markets_is_found_over_all_of_them() -> None:
    reference = pd.concat([_frame(0), _frame(1, "VN")])
    current = pd.concat([_frame(2, rows=400), _frame(3, "VN")])
    mix = ColumnSpec("market", "categorical", entity="user_id")
    findings = compare_columns(reference, current, [PRICE, mix], CONFIG).findings
    assert _found(findings, market="all", column="market").drifted
    assert not [f for f in findings if f.column == "market" and f.market != "all"]


def test_an_expected_move_is_scored_and_not_judged() -> None:
    warming = ColumnSpec("price", "numeric", entity="user_id", expected="still grows")
    findings = compare_columns(_frame(0), _frame(1, shift=0.8), [warming], CONFIG).findings
    finding = _found(findings, column="price")
    assert finding.expected and finding.score > finding.threshold and not finding.drifted
    assert judge_markets(findings, CONFIG)["TH"].tested == 0


def test_columns_of_too_few_entities_are_untested() -> None:
    frames = [_frame(seed).assign(user_id="one") for seed in (0, 1)]
    (finding,) = compare_columns(*frames, [PRICE], CONFIG).findings
    assert finding.score is None and "1 distinct user_id" in finding.why


def test_rare_categories_are_one() -> None:
    old, new = limit_categories(np.array(list("aaabbcde"), dtype=object), np.array(list("aab"), dtype=object), 2)
    assert "".join(old) == "aaabb" + "(other)" * 3 and list(new) == ["a", "a", "b"]


@pytest.mark.parametrize(
    ("drifted", "tested", "alone", "verdict"),
    [
        (0, 10, [], False),
        (1, 10, [], False),  # one of many columns is noise
        (2, 10, [], True),
        (2, 20, [], False),  # below the share
        (1, 1, [], True),
        (0, 10, ["prediction"], True),
        (0, 10, ["embedding"], True),
    ],
)
def test_what_makes_a_market_drift(drifted: int, tested: int, alone: list[str], verdict: bool) -> None:
    findings = [Finding("feature", "TH", f"c{i}", "psi", 0.3, 0.2, i < drifted, 500, 500) for i in range(tested)] + [
        Finding(scope, "TH", scope, "psi", 0.9, 0.2, True, 500, 500) for scope in alone
    ]
    assert judge_markets(findings, CONFIG)["TH"].drifted is verdict


def test_many_rows_are_capped_the_same_way_every_time() -> None:
    config = CONFIG.model_copy(update={"max_rows": 500})
    reference, current = _frame(0), _frame(1)
    first, again = (compare_columns(reference, current, [PRICE], config).findings for _ in range(2))
    assert first == again and first[0].rows_reference == 500
