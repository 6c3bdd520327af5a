"""The gate's verdicts, one case a row, and what its page shows."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.contracts.errors import BadInput, GateRefused
from components.contracts.releases import RELEVANCE_RELEASE, sealed
from components.contracts.tools.manifest import read_manifest, write_json, write_manifest
from components.release.gate import judge, require_passed, with_latency
from components.release.gate_config import GateConfig
from tests.contracts.tools.browser import measure

CONFIG = GateConfig()


def _delta(value: float, low: float, high: float) -> dict[str, Any]:
    return {"mixture_minus": value, "interval": [low, high]}


RELEVANCE = {
    "relevance": {
        "mixture": {
            "TH": 0.8,
            "VN": 0.75,
            "macro": 0.775,
            "pooled": 0.78,
            "interval": {"TH": [0.77, 0.83], "VN": [0.72, 0.78], "pooled": [0.76, 0.8]},
        },
        "tfidf": {"TH": 0.7, "VN": 0.7, "macro": 0.7, "pooled": 0.7, "interval": {}},
        "best_single": {"TH": 0.79, "VN": 0.74, "macro": 0.765, "pooled": 0.785, "interval": {}},
    },
    "deltas": {
        "tfidf": {"TH": _delta(0.1, 0.05, 0.15), "VN": _delta(0.05, 0, 0.1), "pooled": _delta(0.08, 0.05, 0.11)},
        "best_single": {name: _delta(0.01, -0.01, 0.03) for name in ("TH", "VN")}
        | {"pooled": _delta(-0.005, -0.02, 0.01)},
    },
    "judgments": {"TH": 400, "VN": 300},
    "relevant": {"TH": 90, "VN": 80},
    "balance": {"mixture": {"entropy": 0.9, "collapsed": False}, "released": {"entropy": 0.9, "collapsed": False}},
    "active_parameters": {"mixture": 69e6},
}
CALIBRATED = {"exposures": 900, "requests": 100, "clicks": 90, "calibration": 1.02, "calibration_interval": [0.9, 1.1]}
RANKING = {
    "ranking": {
        "dlrm_exposed": {"auc": 0.68, "gauc": 0.64},
        "hhsft_es3": {
            "auc": 0.69,
            "gauc": 0.65,
            "interval": {"auc": [0.67, 0.71], "gauc": [0.63, 0.67]},
            "difference": {"auc": [0.01, -0.005, 0.025], "gauc": [0.01, -0.005, 0.025]},
        },
    },
    "markets": {"TH": CALIBRATED, "VN": CALIBRATED},
    "released": "hhsft_es3",
    "baseline": "dlrm_exposed",
}
QUIET = {"severity": "none", "tested": 15, "critical": 0, "warnings": 0, "because": []}
WARNED = {"severity": "warning", "tested": 15, "critical": 0, "warnings": 1, "because": ["price: median 195 -> 219"]}
MOVED = {"severity": "critical", "tested": 15, "critical": 1, "warnings": 0, "because": ["brand: empty now"]}
NOTHING = {"severity": "warning", "tested": 0, "critical": 0, "warnings": 1, "because": ["12 reference rows"]}
DRIFT = {"drifted": False, "expected": False, "markets": {"TH": QUIET, "VN": QUIET}, "untested": []}
KEYS = {"name", "market", "value", "floor", "ceiling", "margin", "verdict", "passed", "warning", "why"}


class World:
    """What the gate is given; a case changes some of it."""

    def __init__(self, *changes: Callable[["World"], None]) -> None:
        self.relevance: dict[str, Any] = copy.deepcopy(RELEVANCE)
        self.ranking: dict[str, Any] | None = copy.deepcopy(RANKING)
        self.drift: dict[str, Any] = copy.deepcopy(DRIFT)
        self.config = CONFIG
        self.champion: dict[str, Any] | None = None
        for change in changes:
            change(self)

    def judge(self, root: Path) -> dict[str, Any]:
        for name, metrics in (("relevance", self.relevance), ("ranker", self.ranking or {})):
            (root / name).mkdir()
            write_manifest(root / name, name, {}, {}, metrics, simulated=True)
        write_json(root / "drift" / "drift.json", self.drift)
        write_manifest(root / "drift", "drift", {}, {})
        ranker = root / "ranker" if self.ranking is not None else None
        champion = ""
        if self.champion:
            champion = str(root / "served")
            write_json(root / "served" / "manifest.json", sealed(self.champion))
        return judge(root / "relevance", ranker, root / "drift", self.config, root / "verdict", champion)


def _put(path: str, value: Any) -> Callable[[World], None]:
    """Set world.<first>[<second>]...[<last>] = value."""

    def change(world: World) -> None:
        first, *keys, last = path.split("/")
        target = getattr(world, first)
        for key in keys:
            target = target[key]
        target[last] = value

    return change


def _auc(market: str, value: float, low: float, high: float) -> Callable[[World], None]:
    """The mixture's AUC of a market, or pooled; its gains follow."""

    def change(world: World) -> None:
        variants, deltas = world.relevance["relevance"], world.relevance["deltas"]
        for baseline, row in deltas.items():
            gain = value - variants[baseline][market]
            row[market] = _delta(gain, gain - (value - low), gain + (high - value))
        variants["mixture"][market] = value
        variants["mixture"]["interval"][market] = [low, high]

    return change


def _baseline(name: str, market: str, value: float, low: float, high: float) -> Callable[[World], None]:
    """A baseline's AUC, and the interval of what the mixture gains over it."""

    def change(world: World) -> None:
        variants = world.relevance["relevance"]
        variants[name][market] = value
        world.relevance["deltas"][name][market] = _delta(variants["mixture"][market] - value, low, high)

    return change


def _one_class(relevant: int) -> Callable[[World], None]:
    """VN has judgments of one class: no AUC under any variant, and no gain."""

    def change(world: World) -> None:
        for row in world.relevance["relevance"].values():
            row["VN"] = None
        for row in world.relevance["deltas"].values():
            row.pop("VN")
        world.relevance["relevance"]["mixture"]["interval"]["VN"] = None
        world.relevance["relevant"]["VN"] = relevant

    return change


def _ranking(metric: str, value: float, half: float) -> Callable[[World], None]:
    def change(world: World) -> None:
        assert world.ranking is not None
        row, reached = world.ranking["ranking"]["hhsft_es3"], world.ranking["ranking"]["dlrm_exposed"][metric]
        row[metric], row["interval"][metric] = value, [value - half, value + half]
        row["difference"][metric] = [value - reached, value - reached - half, value - reached + half]

    return change


def _calibrated(market: str, ratio: float | None, low: float, high: float) -> Callable[[World], None]:
    interval = None if ratio is None else [low, high]
    return _put(f"ranking/markets/{market}", CALIBRATED | {"calibration": ratio, "calibration_interval": interval})


def _configure(**bounds: Any) -> Callable[[World], None]:
    def change(world: World) -> None:
        world.config = world.config.model_copy(update=bounds)

    return change


def _no_ranker(world: World) -> None:
    world.ranking = None


def _blended(gauc: float, half: float) -> Callable[[World], None]:
    """The order of a page: as the ranker's, but for its GAUC."""

    def change(world: World) -> None:
        assert world.ranking is not None
        rows = world.ranking["ranking"]
        _ranking("gauc", gauc, half)(copied := World())
        assert copied.ranking is not None
        rows["hhsft_es3+blend"] = copied.ranking["ranking"]["hhsft_es3"]

    return change


def _drift(
    expected: bool = False, untested: tuple[str, ...] = (), **markets: dict[str, Any]
) -> Callable[[World], None]:
    def change(world: World) -> None:
        columns = [{"market": m, "scope": "market", "column": "*", "why": "12 reference rows"} for m in untested]
        drifted = any(verdict["critical"] for verdict in markets.values())
        world.drift = {"drifted": drifted, "expected": expected, "markets": markets, "untested": columns}

    return change


def _served(**auc: float) -> Callable[[World], None]:
    """A release that is served, with intervals of two points either way."""

    def change(world: World) -> None:
        world.champion = {
            "kind": RELEVANCE_RELEASE,
            "digest": "c0ffee" * 10,
            "as_of": "2026-01-01T00:00:00+00:00",
            "markets": [name for name in auc if name != "pooled"],
            "figures": {"auc": auc, "intervals": {name: [x - 0.02, x + 0.02] for name, x in auc.items()}},
        }

    return change


BEST = "relevance auc against best_single"


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ([], None),
        ([_no_ranker], None),
        ([_auc("TH", 0.50, 0.45, 0.55)], "relevance auc of TH: 0.5000 is below the floor 0.6000"),
        ([_auc("TH", 0.77, 0.70, 0.84)], None),  # 0.8 less 0.02 is not reached, but by its interval
        ([_auc("TH", 0.2, 0.1, 0.3), _put("relevance/judgments/TH", 49)], None),
        ([_one_class(300)], None),
        ([_auc("pooled", 0.5, 0.45, 0.55)], "relevance auc of pooled: 0.5000 is below"),
        ([_put("relevance/relevance/mixture/pooled", None)], "relevance auc of pooled could not be computed"),
        ([_baseline("best_single", "pooled", 0.81, -0.04, -0.025)], f"{BEST} of pooled: 0.7800 is below 0.7900"),
        ([_baseline("best_single", "pooled", 0.79, -0.015, -0.005)], None),  # within the tolerance
        ([_baseline("best_single", "pooled", 0.81, -0.07, 0.01)], None),  # undecided
        ([_baseline("tfidf", "pooled", 0.85, -0.08, -0.06)], "relevance auc against tfidf of pooled"),
        ([_baseline("tfidf", "pooled", 0.85, -0.08, -0.06), _configure(relevance_tolerance=0.1)], None),
        (
            [_auc("VN", 0.61, 0.56, 0.66), _baseline("tfidf", "VN", 0.91, -0.36, -0.24)],
            "relevance auc against tfidf of VN: 0.6100 is below 0.8900, which is tfidf's 0.9100",
        ),
        ([_ranking("auc", 0.5, 0.02)], "ranking auc of pooled: 0.5000 is below the floor"),
        ([_ranking("gauc", 0.4, 0.02)], "ranking gauc of pooled"),
        ([_put("ranking/ranking/hhsft_es3/gauc", None)], "ranking gauc of pooled could not be computed"),
        ([_ranking("auc", 0.665, 0.001)], None),  # within the tolerance
        ([_ranking("auc", 0.655, 0.001)], "ranking auc against dlrm_exposed of pooled: 0.6550 is below 0.6600"),
        ([_ranking("auc", 0.655, 0.02)], None),  # undecided
        ([_blended(0.64, 0.02)], None),
        ([_blended(0.58, 0.02)], "blended ranking gauc against dlrm_exposed of pooled: 0.5800 is below 0.6200"),
        ([_put("relevance/active_parameters/mixture", 2e9)], "active parameters: 2,000 M a pair exceed the budget"),
        ([_drift(TH=MOVED, VN=QUIET)], r"TH drifted \(brand: empty now\)"),
        ([_drift(TH=WARNED, VN=QUIET)], None),
        ([_drift(expected=True, TH=MOVED, VN=QUIET)], None),
        ([_drift(untested=("TH", "VN"), TH=NOTHING, VN=NOTHING)], None),
        ([_auc("TH", 0.1, 0.05, 0.15), _drift(TH=MOVED)], "(?s)relevance auc of TH.*; TH drifted"),
        ([_served(TH=0.81, VN=0.76, pooled=0.79)], None),
        ([_served(TH=0.81, VN=0.92, pooled=0.79)], "relevance auc against release c0ffeec0ffee of VN: 0.7500 is below"),
    ],
)
def test_verdicts(tmp_path: Path, changes: list[Callable[[World], None]], refusal: str | None) -> None:
    world = World(*changes)
    returned = world.judge(tmp_path)
    if refusal is None:
        require_passed(tmp_path / "verdict")
    else:
        with pytest.raises(GateRefused, match=refusal) as refused:
            require_passed(tmp_path / "verdict")
        assert refused.value.exit_code == 4
    verdict = json.loads((tmp_path / "verdict" / "verdict.json").read_text())
    assert verdict["passed"] is (refusal is None)
    assert verdict["passed"] is all(check["passed"] for check in verdict["checks"])
    assert verdict["decision"].startswith("A release may be built" if refusal is None else "No release is built")
    assert all(set(check) == KEYS and check["why"] for check in verdict["checks"])
    assert returned == verdict
    page = (tmp_path / "verdict" / "reports" / "gate.html").read_text(encoding="utf-8")
    assert ("Gate passed" if refusal is None else "Gate refused") in page and "Simulated data" in page
    assert "nan" not in page.lower()
    manifest = read_manifest(tmp_path / "verdict")
    assert manifest["metrics"]["passed"] is (refusal is None)
    assert ("ranker" in manifest["inputs"]) is (world.ranking is not None)
    assert ("champion" in manifest["inputs"]) is (world.champion is not None)


def _check(root: Path, name: str, market: str, *changes: Callable[[World], None]) -> dict[str, Any]:
    """One check of a verdict, which does not refuse."""
    verdict = World(*changes).judge(root)
    assert verdict["passed"]
    (found,) = (check for check in verdict["checks"] if (check["name"], check["market"]) == (name, market))
    return found


def test_a_floor_that_the_interval_reaches_warns_and_says_what_would_decide(tmp_path: Path) -> None:
    check = _check(tmp_path, "relevance auc", "TH", _auc("TH", 0.59, 0.56, 0.62), _configure(relevance_tolerance=1.0))
    assert check["warning"] and check["verdict"] == "warning"
    assert "gate.min_relevance_auc" in check["why"]
    # Of two markets: half a width of 0.03 becomes 0.0343, 3.43 times the margin of 0.01.
    assert "97.5 % interval reaches it: about 4,400 more judgments would decide it" in check["why"]


def test_an_undecided_gap_warns_and_says_what_would_decide(tmp_path: Path) -> None:
    gap = _baseline("tfidf", "pooled", 0.835, -0.12, 0.01)
    check = _check(tmp_path, "relevance auc against tfidf", "pooled", gap)
    # 700 judgments, half a width of 0.065, 0.035 beyond the tolerance.
    assert check["warning"] and "about 1,800 more judgments would decide it" in check["why"]
    assert "gate.relevance_tolerance" in check["why"]
    assert check["margin"] == pytest.approx({"value": -0.035, "low": -0.1, "high": 0.03})


def test_a_gap_at_its_bound_asks_for_no_number_of_judgments(tmp_path: Path) -> None:
    gap = _baseline("tfidf", "pooled", 0.8001, -0.12, 0.08)
    why = _check(tmp_path, "relevance auc against tfidf", "pooled", gap)["why"]
    assert "on which side 700 judgments can't tell" in why and "more judgments" not in why


@pytest.mark.parametrize(("relevant", "reason"), [(300, "every judgment reaches"), (0, "no judgment reaches")])
def test_a_market_of_one_class_is_not_judged_and_blocks_nobody(tmp_path: Path, relevant: int, reason: str) -> None:
    check = _check(tmp_path, "relevance auc", "VN", _one_class(relevant))
    assert check["verdict"] == "not judged" and check["value"] is None and not check["warning"]
    assert f"{reason} the threshold" in check["why"]


def test_a_market_is_compared_with_its_best_baseline_and_allows_for_all_of_them(tmp_path: Path) -> None:
    # At 95 % the gap is decided; it is the best of two baselines in one of two markets, so that four are looked at.
    gap = _baseline("tfidf", "VN", 0.80, -0.079, -0.0205)
    check = _check(tmp_path, "relevance auc against tfidf", "VN", gap)
    assert check["warning"] and "98.8 % interval reaches it" in check["why"]


def test_what_was_not_judged_is_said(tmp_path: Path) -> None:
    changes = (_put("relevance/judgments/TH", 3), _drift(untested=("VN",), TH=QUIET, VN=NOTHING))
    verdict = World(*changes, _put("relevance/active_parameters", {}), _put("relevance/balance", {})).judge(tmp_path)
    checks = {(check["name"], check["market"]): check for check in verdict["checks"]}
    few = checks["relevance auc", "TH"]
    assert few["floor"] is None and few["value"] == 0.8 and "3 judgments, 50 needed (gate.min_judgments)" in few["why"]
    assert checks["drift", "VN"]["why"] == "drift of VN not judged: 12 reference rows"
    unmeasured = [("active parameters", "all"), ("router", "all"), ("latency p99", "all")]
    assert all(checks[name]["verdict"] == "not judged" for name in unmeasured)
    assert "5 not judged" in verdict["decision"]


def test_data_of_which_no_column_was_tested_are_not_judged(tmp_path: Path) -> None:
    check = _check(tmp_path, "drift tested", "all", _drift(untested=("TH", "VN"), TH=NOTHING, VN=NOTHING))
    assert check["verdict"] == "not judged" and "nothing says that the data did not drift" in check["why"]


def test_a_router_that_collapsed_warns(tmp_path: Path) -> None:
    collapsed = _put("relevance/balance/released", {"entropy": 0.05, "collapsed": True})
    check = _check(tmp_path, "router", "all", collapsed)
    assert check["warning"] and "has collapsed" in check["why"] and "relevance.load_balance" in check["why"]


@pytest.mark.parametrize(
    ("ratio", "low", "high", "says"),
    [
        (0.73, 0.70, 0.76, "0.730 times the actual ones, outside of 0.800 to 1.25 (gate.max_miscalibration)"),
        (0.77, 0.70, 0.84, "97.5 % interval reaches that: about 620 more requests would decide it"),
        (2.1, 1.8, 2.4, "2.10 times the actual ones, outside of"),
        (1.3, 1.1, 1.6, "interval reaches that: about"),
    ],
)
def test_clicks_predicted_too_seldom_or_too_often_warn(
    tmp_path: Path, ratio: float, low: float, high: float, says: str
) -> None:
    check = _check(tmp_path, "predicted/actual clicks", "TH", _calibrated("TH", ratio, low, high))
    assert check["warning"] and says in check["why"]
    assert check["value"] == ratio and check["margin"]["value"] < 0


def test_a_market_without_clicks_has_no_calibration_to_judge(tmp_path: Path) -> None:
    check = _check(tmp_path, "predicted/actual clicks", "TH", _calibrated("TH", None, 0, 0))
    assert check["verdict"] == "not judged" and "no click on 900 exposures" in check["why"]


def test_latency_is_judged_by_the_requests_that_checked_the_release(tmp_path: Path) -> None:
    before = World().judge(tmp_path)
    assert "1 not judged" in before["decision"]
    assert with_latency(before, None, CONFIG)["decision"] == before["decision"]
    fast, slow = (with_latency(before, {"p99_ms": ms, "requests": 85}, CONFIG) for ms in (490.0, 2500.0))
    assert "not judged" not in fast["decision"] and "warning" not in fast["decision"]
    (check,) = (check for check in slow["checks"] if check["name"] == "latency p99")
    assert (
        check["warning"] and "2,500 ms of 85 requests exceed the budget of 2,000 ms (gate.max_p99_ms)" in check["why"]
    )
    assert slow["passed"], "the machine of a run is not the one that will serve"


def test_the_release_that_is_served_is_named_and_a_market_that_it_alone_serves(tmp_path: Path) -> None:
    check = _check(tmp_path, "markets", "all", _served(TH=0.8, VN=0.75, PH=0.7, pooled=0.78))
    assert check["warning"] and "release c0ffeec0ffee serves PH" in check["why"]
    page = (tmp_path / "verdict" / "reports" / "gate.html").read_text(encoding="utf-8")
    assert "Previous release: c0ffeec0ffee, of data up to 2026-01-01, pooled AUC 0.7800." in page


def test_a_champion_that_changed_is_refused(tmp_path: Path) -> None:
    world = World(_served(TH=0.8, VN=0.75, pooled=0.78))
    world.judge(tmp_path)
    served = tmp_path / "served" / "manifest.json"
    served.write_text(served.read_text().replace("0.78", "0.38"))
    with pytest.raises(BadInput, match="has changed since the release was built"):
        judge(tmp_path / "relevance", None, tmp_path / "drift", CONFIG, tmp_path / "again", str(tmp_path / "served"))
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize("width", [1280, 420])
def test_the_page_says_what_was_decided_and_fits_its_screen(tmp_path: Path, width: int) -> None:
    changes = (_auc("TH", 0.1, 0.05, 0.15), _calibrated("VN", 0.7, 0.65, 0.75), _one_class(300), _drift(TH=WARNED))
    decision = World(*changes, _served(TH=0.8, VN=0.75, pooled=0.78)).judge(tmp_path)["decision"]
    path = tmp_path / "verdict" / "reports" / "gate.html"
    page = path.read_text(encoding="utf-8")
    assert f"<b>{decision}</b>" in page
    assert all(f"<h2>{heading}</h2>" in page for heading in ("Refused", "Warnings", "Not judged", "Every figure"))
    layout = measure(path, width, tmp_path / "browser")
    assert not any((layout.page > width, layout.outside, layout.tall, layout.clashes))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_put("relevance/relevance", {"other": {}}), "lack the variant 'mixture'"),
        (lambda world: world.relevance.pop("relevance"), "no metrics 'relevance'"),
        (lambda world: world.relevance.pop("judgments"), "no metrics 'judgments'"),
        (_put("ranking/released", "absent"), "lack the variant 'absent'"),
    ],
)
def test_a_manifest_without_the_metrics_is_bad_input(tmp_path: Path, change, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        World(change).judge(tmp_path)
    assert not (tmp_path / "verdict").exists()
