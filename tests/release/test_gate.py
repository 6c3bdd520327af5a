"""The gate's verdicts, one case a row."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.contracts.errors import BadInput, GateRefused
from components.contracts.tools.manifest import read_manifest, write_json, write_manifest
from components.release.gate import judge, require_passed
from components.release.gate_config import GateConfig

CONFIG = GateConfig()
RELEVANCE = {
    "relevance": {
        "mixture": {"TH": 0.8, "VN": 0.75, "macro": 0.775, "pooled": 0.78, "interval": {"TH": [0.7, 0.9]}},
        "tfidf": {"TH": 0.7, "VN": 0.7, "macro": 0.7, "pooled": 0.7, "interval": {}},
        "best_single": {"TH": 0.79, "VN": 0.74, "macro": 0.765, "pooled": 0.785, "interval": {}},
    },
    "judgments": {"TH": 400, "VN": 300},
}
RANKING = {
    "ranking": {
        "dlrm_exposed": {"auc": 0.68, "gauc": 0.64},
        "hhsft_es3": {"auc": 0.69, "gauc": 0.65},
    },
    "released": "hhsft_es3",
    "baseline": "dlrm_exposed",
}
QUIET = {"severity": "none", "tested": 15, "critical": 0, "warnings": 0, "because": []}
WARNED = {"severity": "warning", "tested": 15, "critical": 0, "warnings": 1, "because": ["price: median 195 -> 219"]}
MOVED = {"severity": "critical", "tested": 15, "critical": 1, "warnings": 0, "because": ["brand: empty now"]}
NOTHING = {"severity": "warning", "tested": 0, "critical": 0, "warnings": 1, "because": ["12 reference rows"]}
DRIFT = {"drifted": False, "expected": False, "markets": {"TH": QUIET, "VN": QUIET}, "untested": []}


class World:
    """What the gate is given; a case changes some of it."""

    def __init__(self) -> None:
        self.relevance: dict[str, Any] = copy.deepcopy(RELEVANCE)
        self.ranking: dict[str, Any] | None = copy.deepcopy(RANKING)
        self.drift: dict[str, Any] = copy.deepcopy(DRIFT)
        self.config = CONFIG

    def judge(self, root: Path) -> dict[str, Any]:
        for name, metrics in (("relevance", self.relevance), ("ranker", self.ranking or {})):
            (root / name).mkdir()
            write_manifest(root / name, name, {}, {}, metrics, simulated=True)
        write_json(root / "drift" / "drift.json", self.drift)
        write_manifest(root / "drift", "drift", {}, {})
        ranker = root / "ranker" if self.ranking is not None else None
        return judge(root / "relevance", ranker, root / "drift", self.config, root / "verdict")


def _put(path: str, value: Any) -> Callable[[World], None]:
    """Set world.<first>[<second>]...[<last>] = value."""

    def change(world: World) -> None:
        first, *keys, last = path.split("/")
        target = getattr(world, first)
        for key in keys:
            target = target[key]
        target[last] = value

    return change


def _configure(**floors: Any) -> Callable[[World], None]:
    def change(world: World) -> None:
        world.config = world.config.model_copy(update=floors)

    return change


def _no_ranker(world: World) -> None:
    world.ranking = None


def _drift(
    expected: bool = False, untested: tuple[str, ...] = (), **markets: dict[str, Any]
) -> Callable[[World], None]:
    def change(world: World) -> None:
        columns = [{"market": m, "scope": "market", "column": "*", "why": "12 reference rows"} for m in untested]
        drifted = any(verdict["critical"] for verdict in markets.values())
        world.drift = {"drifted": drifted, "expected": expected, "markets": markets, "untested": columns}

    return change


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ([], None),
        ([_no_ranker], None),
        ([_put("relevance/relevance/mixture/TH", 0.59)], "relevance auc of TH: 0.5900 is below the floor 0.6"),
        ([_put("relevance/relevance/mixture/TH", 0.60)], None),
        ([_put("relevance/relevance/mixture/TH", 0.2), _put("relevance/judgments/TH", 49)], None),
        ([_put("relevance/relevance/mixture/TH", None), _put("relevance/judgments/TH", 3)], None),
        ([_put("relevance/relevance/mixture/TH", None)], "relevance auc of TH could not be computed"),
        ([_put("relevance/relevance/mixture/pooled", 0.5)], "relevance auc of pooled: 0.5000 is below"),
        ([_put("relevance/relevance/best_single/pooled", 0.79)], None),  # within tolerance
        ([_put("relevance/relevance/best_single/pooled", 0.81)], "relevance auc against best_single"),
        ([_put("relevance/relevance/tfidf/pooled", 0.81)], "relevance auc against tfidf"),
        ([_put("relevance/relevance/tfidf/pooled", 0.81), _configure(relevance_tolerance=0.05)], None),
        ([_put("ranking/ranking/hhsft_es3/auc", 0.54)], "ranking auc of pooled: 0.5400 is below the floor"),
        ([_put("ranking/ranking/hhsft_es3/gauc", 0.51)], "ranking gauc of pooled"),
        ([_put("ranking/ranking/hhsft_es3/gauc", None)], "ranking gauc of pooled could not be computed"),
        ([_put("ranking/ranking/hhsft_es3/auc", 0.665)], None),  # within tolerance
        ([_put("ranking/ranking/hhsft_es3/auc", 0.655)], "ranking auc against dlrm_exposed: 0.6550 is below its 0.68"),
        ([_drift(TH=MOVED, VN=QUIET)], r"TH drifted \(brand: empty now\)"),
        ([_drift(TH=WARNED, VN=QUIET)], None),
        ([_drift(expected=True, TH=MOVED, VN=QUIET)], None),
        ([_drift(untested=("VN",), TH=QUIET, VN=NOTHING)], None),
        ([_drift(untested=("TH", "VN"), TH=NOTHING, VN=NOTHING)], "nothing says that the data did not drift"),
        (
            [_put("relevance/relevance/mixture/TH", 0.1), _drift(TH=MOVED)],
            "(?s)relevance auc of TH.*; TH drifted",
        ),
    ],
)
def test_verdicts(tmp_path: Path, changes: list[Callable[[World], None]], refusal: str | None) -> None:
    world = World()
    for change in changes:
        change(world)
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
    assert all(set(c) == {"name", "market", "value", "floor", "passed", "why"} and c["why"] for c in verdict["checks"])
    assert returned == verdict
    page = (tmp_path / "verdict" / "reports" / "gate.html").read_text(encoding="utf-8")
    assert ("Gate passed" if refusal is None else "Gate refused") in page and "Simulated data" in page
    manifest = read_manifest(tmp_path / "verdict")
    assert manifest["metrics"]["passed"] is (refusal is None)
    assert ("ranker" in manifest["inputs"]) is (world.ranking is not None)


def test_what_was_not_judged_is_said(tmp_path: Path) -> None:
    world = World()
    for change in (_put("relevance/judgments/TH", 3), _drift(untested=("VN",), TH=QUIET, VN=NOTHING)):
        change(world)
    checks = {(check["name"], check["market"]): check for check in world.judge(tmp_path)["checks"]}
    few = checks["relevance auc", "TH"]
    assert few["floor"] is None and few["value"] == 0.8 and "3 judgments, 50 needed" in few["why"]
    assert checks["drift", "VN"]["why"] == "VN was not tested for drift: 12 reference rows"


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
    world = World()
    change(world)
    with pytest.raises(BadInput, match=message):
        world.judge(tmp_path)
    assert not (tmp_path / "verdict").exists()
