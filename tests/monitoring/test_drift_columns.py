"""Comparing two frames market by market: what drifts, what does not, and what cannot be said."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from components.monitoring.columns import ColumnsCompared, ColumnSpec, compare_columns
from components.monitoring.findings import (
    Finding,
    Severity,
    control,
    count_windows,
    judge_markets,
    moved,
    rate,
    summarise,
    weights_of_tests,
)
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


def _rated(compared: ColumnsCompared) -> list[Finding]:
    """Findings after control over the run, rated without Evidently's figure."""
    return [rate(f, CONFIG) for f in control(compared.findings, CONFIG)]


def _compare(reference: pd.DataFrame, current: pd.DataFrame, *specs: ColumnSpec, days=None) -> list[Finding]:
    return _rated(compare_columns(reference, current, specs or [PRICE, BRAND], CONFIG, days))


def test_a_shift_is_found_in_its_market_alone() -> None:
    reference = pd.concat([_frame(0), _frame(1, "VN")])
    findings = _compare(reference, pd.concat([_frame(2), _frame(3, "VN", shift=0.8)]))
    moved = {(f.market, f.column) for f in findings if f.severity != "none"}
    assert {("VN", "price"), ("VN", "brand")} <= moved
    assert not any(market == "TH" for market, _ in moved)
    assert judge_markets(findings)["TH"].severity == "none"


def test_one_column_is_enough_for_a_warning() -> None:
    findings = _compare(_frame(0), _frame(1).assign(price=lambda f: f["price"] + 0.3))
    assert judge_markets(findings)["TH"].severity == "warning"
    assert _found(findings, column="price").what.startswith("median")


@pytest.mark.parametrize(
    ("incident", "broken"),
    [
        (lambda f: f.assign(brand=None), "empty now"),
        (lambda f: f.assign(brand="a"), "one value alone now"),
        (lambda f: f.assign(price=f["price"] * 1000), "the unit changed"),
    ],
    ids=["empty", "constant", "x1000"],
)
def test_what_broke_is_critical_in_one_column_alone(incident, broken: str) -> None:
    reference, current = (_frame(seed).assign(price=lambda f: np.exp(f["price"])) for seed in (0, 1))
    findings = _compare(reference, incident(current))
    critical = [f for f in findings if f.severity == "critical"]
    assert [broken in f.broken for f in critical] == [True]


def test_a_mix_of_currencies_that_moves_a_little_is_no_other_unit() -> None:
    sides = [
        pd.concat([_frame(seed, rows=baht), _frame(seed + 2, "VN", rows=4000 - baht)]).assign(
            price=lambda f: np.exp(f["price"] / 9) * np.where(f["market"] == "TH", 200, 150_000)
        )
        for seed, baht in ((0, 2200), (1, 1800))
    ]
    findings = _compare(*sides, ColumnSpec("price", "numeric"))
    assert _found(findings, market="all", column="price").severity == "warning"
    assert not [f for f in findings if f.severity == "critical"]


def test_a_flipped_label_is_critical_and_a_feature_that_moved_as_far_is_not() -> None:
    reference, current = (_frame(seed).assign(clicked=lambda f: (f["price"] > 0.5) * 1.0) for seed in (0, 1))
    current["clicked"] = 1 - current["clicked"]
    spec = {"name": "clicked", "kind": "numeric", "entity": "user_id"}
    assert [f.severity for f in _compare(reference, current, ColumnSpec(**spec, scope="label"))] == ["critical"]
    assert [f.severity for f in _compare(reference, current, ColumnSpec(**spec))] == ["warning"]


def test_a_doubled_price_and_one_outlier_are_told_apart() -> None:
    # Bins of equal width over both windows would put nearly every row into one.
    reference, current = (_frame(seed).assign(price=lambda f: np.exp(2 * f["price"])) for seed in (0, 1))
    outlier = current.assign(price=np.where(np.arange(len(current)) == 7, 1e9, current["price"]))
    assert _found(_compare(reference, outlier, PRICE), column="price").severity == "none"
    both = outlier.assign(price=outlier["price"] * 2)
    assert _found(_compare(reference, both, PRICE), column="price").severity == "warning"


def test_a_spread_that_grows_around_the_same_middle_is_found() -> None:
    finding = _found(_compare(_frame(0), _frame(1).assign(price=lambda f: 1.3 * f["price"]), PRICE), column="price")
    assert finding.severity == "warning" and min(finding.p_values, key=finding.p_values.get) in ("spread", "shape")


def test_a_replaced_tail_is_found() -> None:
    def brands(seed: int, tail: str) -> pd.DataFrame:
        rng = np.random.default_rng(seed + 10)
        rare = np.char.add(tail, rng.integers(0, 300, 2000).astype(str))
        return _frame(seed).assign(brand=np.where(rng.random(2000) < 0.5, "big", rare))

    assert _found(_compare(brands(0, "x"), brands(1, "x"), BRAND), column="brand").severity == "none"
    replaced = _found(_compare(brands(0, "x"), brands(1, "y"), BRAND), column="brand")
    assert replaced.severity == "warning" and "rare values" in replaced.what and replaced.size > 0.3


def test_a_domain_that_is_gone_is_critical() -> None:
    spec = ColumnSpec("domain", "categorical", segment="domain")
    reference, current = (_frame(s).assign(domain=np.where(np.arange(2000) % 9 == 0, "rec", "search")) for s in (0, 1))
    (finding,) = _compare(reference, current[current["domain"] == "search"], spec)
    assert finding.severity == "critical"
    three = _frame(2).assign(domain=np.resize(["search", "search", "search", "shop"], 2000))
    (finding,) = _compare(reference, three, spec)
    assert finding.broken == "domain rec is gone, domain shop is new"


def test_missing_values_are_compared_as_a_share_and_left_out_of_the_distribution() -> None:
    reference, current = _frame(0), _frame(1)
    current.loc[::2, "price"] = np.nan
    current.loc[1::40, "price"] = np.inf
    findings = _compare(reference, current, PRICE)
    missing = _found(findings, scope="missing")
    assert missing.severity == "warning" and missing.size == pytest.approx(0.525)
    distribution = _found(findings, scope="feature")
    assert distribution.severity == "none" and distribution.rows_current == 950


def test_values_missing_throughout_one_window_are_critical_and_the_distribution_is_untested() -> None:
    findings = _compare(_frame(0), _frame(1).assign(price=np.nan, brand=None))
    for column in ("price", "brand"):
        assert _found(findings, scope="missing", column=column).severity == "critical"
        untested = _found(findings, scope="feature", column=column)
        assert not untested.tested and "0 current values" in untested.why


def test_a_column_without_any_value_is_untested_and_does_not_move() -> None:
    (finding,) = _compare(*[_frame(seed).assign(price=np.nan) for seed in (0, 1)], PRICE)
    assert not finding.tested and finding.severity == "info"


def test_a_market_with_too_few_rows_is_a_warning_and_not_passed() -> None:
    reference = pd.concat([_frame(0), _frame(1, "VN", rows=CONFIG.min_rows - 1)])
    findings = _compare(reference, pd.concat([_frame(2), _frame(3, "VN")]), PRICE)
    summary = summarise("search", findings, CONFIG, {}, None)
    assert [(entry["market"], entry["scope"]) for entry in summary["untested"]] == [("VN", "market")]
    assert "199 reference and 2000 current rows, 200 needed" in summary["untested"][0]["why"]
    assert summary["markets"]["VN"]["tested"] == 0 and summary["markets"]["VN"]["severity"] == "warning"


@pytest.mark.parametrize(("markets", "broken"), [(([0], [1, 2]), "new: no rows"), (([0, 2], [1]), "gone: no rows")])
def test_a_market_that_is_new_or_gone_is_critical(markets: tuple[list[int], list[int]], broken: str) -> None:
    sides = [pd.concat([_frame(seed, "VN" if seed == 2 else "TH") for seed in seeds]) for seeds in markets]
    finding = _found(_compare(*sides, PRICE), market="VN")
    assert finding.severity == "critical" and broken in finding.broken


def test_traffic_far_down_is_critical_where_the_number_of_rows_says_something() -> None:
    little = _frame(1).iloc[:200]
    assert "90% fewer rows" in _found(_compare(_frame(0), little, PRICE, days=(1, 1)), scope="rows").broken
    assert not [f for f in _compare(_frame(0), little, PRICE) if f.scope == "rows"]
    assert not [f for f in _compare(_frame(0), little, PRICE, days=(10, 1)) if f.scope == "rows"], "as many a day"


def test_a_changed_mix_of_markets_is_found_over_all_of_them() -> None:
    reference = pd.concat([_frame(0), _frame(1, "VN")])
    current = pd.concat([_frame(2, rows=400), _frame(3, "VN")])
    mix = ColumnSpec("market", "categorical", entity="user_id")
    findings = _compare(reference, current, PRICE, mix)
    assert _found(findings, market="all", column="market").severity == "warning"
    assert not [f for f in findings if f.column == "market" and f.market != "all"]


def test_an_expected_move_is_shown_and_not_judged() -> None:
    warming = ColumnSpec("price", "numeric", entity="user_id", expected="still grows")
    finding = _found(_compare(_frame(0), _frame(1, shift=0.8), warming), column="price")
    assert finding.expected and finding.severity == "info" and not finding.tested


def test_columns_of_too_few_entities_are_untested() -> None:
    (finding,) = _compare(*[_frame(seed).assign(user_id="one") for seed in (0, 1)], PRICE)
    assert not finding.tested and "1 distinct user_id" in finding.why


def test_the_smallest_change_that_is_found_is_said_and_what_to_pool() -> None:
    specs = (ColumnSpec("price", "numeric"), ColumnSpec("brand", "categorical"))
    large, small = (_compare(_frame(0, rows=rows), _frame(1, rows=rows), *specs) for rows in (20_000, 300))
    few, many = (_found(findings, column="price") for findings in (small, large))
    assert few.unit == "sd" and few.smallest == pytest.approx(many.smallest * np.sqrt(20_000 / 300), rel=0.15)
    assert few.windows_needed > 1 == many.windows_needed
    step, found = many.smallest * np.sqrt(20_000 / 2000), 0
    for seed in range(40):
        moved = _frame(seed + 100).assign(price=lambda f: f["price"] + step)
        found += _found(_compare(_frame(seed), moved, *specs), column="price").severity != "none"
    assert 24 <= found <= 39, "four times in five"


def test_false_alarms_of_a_run_are_controlled_over_all_its_columns() -> None:
    runs = 0
    for world in range(40):
        rng = np.random.default_rng(world)
        sides = [pd.DataFrame({f"c{i}": rng.normal(size=400) for i in range(20)} | {"market": "TH"}) for _ in range(2)]
        findings = _compare(*sides, *[ColumnSpec(f"c{i}", "numeric") for i in range(20)])
        runs += any(f.serious for f in findings)
    assert runs <= 8  # at most 2 expected; 9 or more have a chance of 0.02 %; each test on its own would give 28


@pytest.mark.parametrize(
    ("scope", "facts", "severity"),
    [
        ("feature", {"adjusted": 0.2}, "none"),
        ("feature", {"psi": 0.3}, "warning"),
        ("feature", {"psi": 1.2}, "critical"),
        ("feature", {"psi": 0.01, "size": 0.004}, "info"),
        ("feature", {"psi": 0.3, "broken": "the unit changed"}, "critical"),
        ("feature", {"psi": 1.2, "expected": True}, "info"),
        ("label", {"psi": 0.3}, "critical"),
        ("prediction", {"psi": 0.05}, "warning"),
        ("missing", {"size": 0.4}, "warning"),
        ("embedding", {"size": 0.55}, "info"),
        ("embedding", {"size": 0.7}, "warning"),
    ],
)
def test_levels(scope, facts: dict, severity: Severity) -> None:
    given = {"p_values": {"mix": 0.001}, "p_value": 0.001, "adjusted": 0.01, "size": 0.1} | facts
    assert rate(Finding(scope, "TH", "c", "", 500, 500, **given), CONFIG).severity == severity


def test_the_same_warning_three_windows_in_a_row_is_critical() -> None:
    summary = None
    for expected in ("warning", "warning", "critical"):
        warned = Finding("feature", "TH", "c", "", 500, 500, {"mix": 0.001}, 0.01, 0.1, severity="warning")
        (counted,) = count_windows([warned], summary, CONFIG)
        assert counted.severity == expected
        summary = summarise("compare", [counted], CONFIG, {}, None)
    (fresh,) = count_windows([warned], {"findings": []}, CONFIG)
    assert fresh.in_a_row == 1


def test_many_rows_are_capped_the_same_way_every_time() -> None:
    config = CONFIG.model_copy(update={"max_rows": 500})
    reference, current = _frame(0), _frame(1)
    first, again = (compare_columns(reference, current, [PRICE], config).findings for _ in range(2))
    assert first == again and first[0].rows_reference == 500


def _tests(pooled: list[float], apart: list[float]) -> list[Finding]:
    each = [("all", p) for p in pooled] + [("TH", p) for p in apart]
    return [
        Finding("feature", market, f"{number}", "", 1000, 1000, p_value=p, size=0.05, noise=0.01)
        for number, (market, p) in enumerate(each)
    ]


def test_all_markets_together_get_most_of_the_rate_and_single_ones_the_rest() -> None:
    quiet_pooled, quiet_apart = [0.5] * 10, [0.5] * 20
    together = control(_tests([0.0033, *quiet_pooled[1:]], quiet_apart), CONFIG)
    assert together[0].adjusted == pytest.approx(0.0033 * 10 / 0.7)  # 0.099 without weights: not found
    assert rate(together[0], CONFIG).severity == "warning"
    apart = control(_tests(quiet_pooled, [0.0007, *quiet_apart[1:]]), CONFIG)
    assert apart[10].adjusted == pytest.approx(0.0007 * 20 / 0.3)
    assert rate(apart[10], CONFIG).severity == "warning"
    assert together[0].smallest is not None and together[10].smallest is not None
    assert together[0].smallest < together[10].smallest
    weigh = weights_of_tests(10, 30, CONFIG)
    assert 10 * weigh("all") + 20 * weigh("TH") == pytest.approx(30)
    assert [f.adjusted for f in control(_tests([], [0.01]), CONFIG)] == [0.01]


def test_nothing_that_moves_has_a_warning_in_at_most_the_stated_share_of_runs() -> None:
    rng = np.random.default_rng(0)
    runs = 4000
    false = sum(
        any(moved(f, CONFIG) for f in control(_tests(list(rng.random(10)), list(rng.random(20))), CONFIG))
        for _ in range(runs)
    )
    expected = CONFIG.false_discovery_rate * runs
    assert abs(false - expected) < 4 * np.sqrt(expected)


def test_what_moves_by_construction_is_a_family_of_its_own() -> None:
    judged = _tests([0.004], [])
    expected = [replace(f, expected=True) for f in _tests([0.004, *[0.5] * 19], [])]
    found = control([*judged, *expected], CONFIG)
    assert found[0].adjusted == pytest.approx(0.004)  # others that move anyway cost it nothing
    assert found[1].adjusted == pytest.approx(0.08)  # one of twenty that would look like this by chance
