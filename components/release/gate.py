"""The quality gate: whether a relevance model and a ranker may become a release, and why.

Choices (ours; the floors are in `GateConfig`):

- Relevance: every market with enough judgments reaches a floor; the pooled AUC is not far below a baseline's.
- Ranking: AUC and GAUC on native search exposures reach floors, and are not far below the baseline ranker's.
- Data: nothing critical moved in any market, unless the profile expects it; warnings pass and are shown; and something
  could be tested.
- A figure that is missing or not judged is listed with its reason.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from components.contracts.errors import BadInput, GateRefused
from components.contracts.tools.log import get_logger
from components.contracts.tools.manifest import (
    input_digest,
    read_json,
    read_manifest,
    stage_directory,
    write_json,
    write_manifest,
)
from components.contracts.tools.report import Section, Table, write_report
from components.release.gate_config import GateConfig

VERDICT = "verdict.json"
PAGE = "reports/gate.html"
_POOLED = "pooled"
_SAID = 3  # findings that a market's check names
_SUMMARIES = (_POOLED, "macro", "interval")  # of a variant's metrics, beside its markets

_logger = get_logger(__name__)


@dataclass(frozen=True)
class Check:
    """One question the gate asked.

    Attributes:
        name: what was checked, e.g. "relevance auc".
        market: a market, or "pooled" / "all".
        value: the figure; None if there is none.
        floor: what it had to reach; None if it was not judged by a floor.
        passed: whether it did; a figure that was not judged passes, and `why` says why it was not.
        why: one sentence.
    """

    name: str
    market: str
    value: float | None
    floor: float | None
    passed: bool
    why: str


def judge(relevance_model: Path, ranker: Path | None, drift: Path, config: GateConfig, out: Path) -> dict[str, Any]:
    """Judge the models by their manifests' metrics and the data by drift.json; write and return the verdict.

    `out` holds verdict.json ({passed, checks}), reports/gate.html and a manifest. A refusal is a result, not a failure:
    a cluster uploads what a step wrote only if the step succeeds. Building a release is what a refusal stops.

    Args:
        relevance_model, ranker: model directories; no ranker in a relevance-only run.
        drift: a directory with drift.json.
        config: the floors.
        out: directory to make.

    Raises:
        BadInput: a manifest lacks the metrics that are judged.
    """
    checks = relevance_checks(read_manifest(relevance_model)["metrics"], config)
    inputs = {"relevance_model": input_digest(relevance_model), "drift": input_digest(drift)}
    if ranker is not None:
        checks += ranking_checks(read_manifest(ranker)["metrics"], config)
        inputs["ranker"] = input_digest(ranker)
    checks += drift_checks(read_json(drift / "drift.json"))
    failed = [check for check in checks if not check.passed]
    verdict = {"passed": not failed, "checks": [asdict(check) for check in checks]}
    with stage_directory(out) as root:
        write_json(root / VERDICT, verdict)
        _write_page(root / PAGE, checks, read_manifest(relevance_model).get("simulated"))
        counts = {"passed": not failed, "checks": len(checks), "failed": len(failed)}
        write_manifest(root, "verdict", config.model_dump(mode="json"), inputs, counts)
    for check in failed:
        _logger.error("gate: %s", check.why)
    _logger.info(
        "gate %s: %d of %d checks hold", "refuses" if failed else "passes", len(checks) - len(failed), len(checks)
    )
    return verdict


def require_passed(verdict: Path) -> None:
    """Raise GateRefused, naming each failed check, unless the verdict in that directory lets a release be built."""
    content = read_json(verdict / VERDICT)
    if not content["passed"]:
        reasons = "; ".join(str(check["why"]) for check in content["checks"] if not check["passed"])
        raise GateRefused(f"gate refused the release: {reasons} (verdict: {verdict / VERDICT})")


def relevance_checks(metrics: Mapping[str, Any], config: GateConfig) -> list[Check]:
    """AUC of each market and pooled against the floor, pooled against the baselines."""
    variants = _section(metrics, "relevance")
    released = _variant(variants, "relevance", config.relevance_variant)
    counts = _section(metrics, "judgments")
    checks = []
    for market in (name for name in released if name not in _SUMMARIES):
        value, count = released[market], counts.get(market, 0)
        if count < config.min_judgments:
            why = f"relevance auc of {market} not judged: {count} judgments, {config.min_judgments} needed"
            checks.append(Check("relevance auc", market, value, None, True, why))
        else:
            checks.append(_at_least("relevance auc", market, value, config.min_relevance_auc))
    pooled, tolerance = released.get(_POOLED), config.relevance_tolerance
    checks.append(_at_least("relevance auc", _POOLED, pooled, config.min_relevance_auc))
    baselines = [name for name in config.relevance_baselines if name in variants]
    return checks + [
        _not_below("relevance auc", pooled, name, variants[name].get(_POOLED), tolerance) for name in baselines
    ]


def ranking_checks(metrics: Mapping[str, Any], config: GateConfig) -> list[Check]:
    """AUC and GAUC of the released ranker against the floors and against the baseline it was trained beside."""
    variants = _section(metrics, "ranking")
    released = _variant(variants, "ranking", metrics["released"])
    baseline = _variant(variants, "ranking", metrics["baseline"])
    checks = []
    for metric, floor in (("auc", config.min_ranking_auc), ("gauc", config.min_ranking_gauc)):
        name, value, reached = f"ranking {metric}", released[metric], baseline[metric]
        checks.append(_at_least(name, _POOLED, value, floor))
        checks.append(_not_below(name, value, metrics["baseline"], reached, config.ranking_tolerance))
    return checks


def drift_checks(drift: Mapping[str, Any]) -> list[Check]:
    """One check per market: nothing critical moved, unless the profile expects drift; and something was tested."""
    checks = []
    for market, verdict in drift["markets"].items():
        said = "; ".join(verdict["because"][:_SAID])
        critical = verdict["severity"] == "critical"
        if critical:
            why = f"{market} drifted ({said})" + (", as the profile expects" if drift["expected"] else "")
        elif not verdict["tested"]:
            why = f"{market} was not tested for drift: {said}"
        elif verdict["warnings"]:
            why = f"{market}: {verdict['warnings']} of {verdict['tested']} columns moved, nothing critical ({said})"
        else:
            why = f"{market}: none of {verdict['tested']} columns moved"
        absent = [column for column in drift["untested"] if column["market"] == market and column["column"] != "*"]
        if absent:
            why += f"; {len(absent)} not tested ({absent[0]['column']}: {absent[0]['why']})"
        checks.append(Check("drift", market, float(verdict["critical"]), None, not critical or drift["expected"], why))
    tested = sum(verdict["tested"] for verdict in drift["markets"].values())
    why = f"{tested} columns were tested for drift" + ("" if tested else ": nothing says that the data did not drift")
    return [*checks, Check("drift tested", "all", float(tested), 1.0, tested > 0, why)]


def _at_least(name: str, market: str, value: float | None, floor: float) -> Check:
    if value is None:
        return Check(name, market, None, floor, False, f"{name} of {market} could not be computed")
    why = f"{name} of {market}: {_against(value, floor)} the floor {floor:.4f}"
    return Check(name, market, value, floor, value >= floor, why)


def _not_below(name: str, value: float | None, baseline: str, reached: float | None, tolerance: float) -> Check:
    """`value` may lie below the baseline's by the tolerance."""
    label = f"{name} against {baseline}"
    if value is None or reached is None:
        return Check(label, _POOLED, value, None, False, f"{label} could not be computed")
    floor = reached - tolerance
    why = f"{label}: {_against(value, floor)} its {reached:.4f} less {tolerance:g}"
    return Check(label, _POOLED, value, floor, value >= floor, why)


def _against(value: float, floor: float) -> str:
    return f"{value:.4f} {'reaches' if value >= floor else 'is below'}"


def _section(metrics: Mapping[str, Any], name: str) -> dict[str, Any]:
    if not isinstance(metrics.get(name), dict):
        raise BadInput(f"manifest has no metrics {name!r} (found: {', '.join(metrics)})")
    return dict(metrics[name])


def _variant(variants: Mapping[str, Any], section: str, name: str) -> dict[str, Any]:
    if name not in variants:
        raise BadInput(f"metrics {section!r} lack the variant {name!r} (found: {', '.join(variants)})")
    return dict(variants[name])


def _write_page(path: Path, checks: list[Check], simulated: bool | None) -> None:
    failed, held = ([check for check in checks if check.passed is passed] for passed in (False, True))
    note = {True: "Simulated data. ", False: "Logged data. ", None: ""}[simulated]
    note += f"{len(held)} of {len(checks)} checks passed; a release is built where all did."
    text = "A figure must reach its floor. One without a floor was not judged; the last column says why."
    sections = [Section(title, text, [_table(part)]) for title, part in (("Failed", failed), ("Passed", held)) if part]
    write_report(path, "Gate refused the release" if failed else "Gate passed", note, sections)


def _table(checks: list[Check]) -> Table:
    rows = [{"check": c.name, "market": c.market, "value": c.value, "floor": c.floor, "why": c.why} for c in checks]
    return Table(pd.DataFrame(rows))
