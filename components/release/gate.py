"""The quality gate: whether a relevance model and a ranker may become a release, and why.

What is asked of which figure: `figures`; how a figure is judged: `checks`; how it is shown: `gate_page`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from components.contracts.errors import GateRefused
from components.contracts.tools.log import get_logger
from components.contracts.tools.manifest import (
    input_digest,
    read_json,
    read_manifest,
    stage_directory,
    write_json,
    write_manifest,
)
from components.release.champion import Champion, read_champion
from components.release.figures import champion_checks, drift_checks, latency_check, ranking_checks, relevance_checks
from components.release.gate_config import GateConfig
from components.release.gate_page import write_gate_page

VERDICT = "verdict.json"
PAGE = "reports/gate.html"

_logger = get_logger(__name__)


def judge(
    relevance_model: Path, ranker: Path | None, drift: Path, config: GateConfig, out: Path, champion: str = ""
) -> dict[str, Any]:
    """Judge the models by their manifests' metrics and the data by drift.json; write and return the verdict.

    `out` holds verdict.json, reports/gate.html and a manifest. A refusal is a result, not a failure: a cluster uploads
    what a step wrote only if the step succeeds. Building a release is what a refusal stops.

    Args:
        relevance_model, ranker: model directories; no ranker in a relevance-only run.
        drift: a directory with drift.json.
        config: the bounds.
        out: directory to make.
        champion: where the release lies that is served (`read_champion`); empty where there is none.

    Returns:
        passed: whether a release may be built; decision: the same in a sentence; champion: name of the release that
        is served, or None; checks: `Check.as_dict` of each.

    Raises:
        BadInput: a manifest lacks the metrics that are judged, or there is no release at `champion`.
    """
    served = read_champion(champion) if champion else None
    relevance = read_manifest(relevance_model)
    checks = relevance_checks(relevance["metrics"], config)
    inputs = {"relevance_model": input_digest(relevance_model), "drift": input_digest(drift)}
    if served:
        checks += champion_checks(relevance["metrics"], served, config)
        inputs["champion"] = served.digest
    if ranker is not None:
        checks += ranking_checks(read_manifest(ranker)["metrics"], config)
        inputs["ranker"] = input_digest(ranker)
    checks += [*drift_checks(read_json(drift / "drift.json")), latency_check(None, config)]
    verdict = _verdict([check.as_dict() for check in checks]) | {"champion": served.name if served else None}
    with stage_directory(out) as root:
        write_json(root / VERDICT, verdict)
        write_gate_page(root / PAGE, checks, verdict["decision"], _previous(served), relevance.get("simulated"))
        counts = {"passed": verdict["passed"], "checks": len(checks)} | _counts(verdict["checks"])
        write_manifest(root, "verdict", config.model_dump(mode="json"), inputs, counts)
    for check in checks:
        if check.verdict in ("refused", "warning"):
            (_logger.warning if check.passed else _logger.error)("gate: %s", check.why)
    _logger.info("gate %s: %s", "passes" if verdict["passed"] else "refuses", tally(verdict["checks"]))
    return verdict


def with_latency(verdict: Mapping[str, Any], serving: Mapping[str, Any] | None, config: GateConfig) -> dict[str, Any]:
    """A verdict whose latency is judged by the requests with which the release was checked, if it was."""
    measured = latency_check(serving, config).as_dict()
    checks = [measured if check["name"] == measured["name"] else check for check in verdict["checks"]]
    return {**verdict, **_verdict(checks)}


def require_passed(verdict: Path) -> None:
    """Raise GateRefused, naming each failed check, unless the verdict in that directory lets a release be built."""
    content = read_json(verdict / VERDICT)
    if not content["passed"]:
        reasons = "; ".join(str(check["why"]) for check in content["checks"] if not check["passed"])
        raise GateRefused(f"gate refused the release: {reasons} (verdict: {verdict / VERDICT})")


def tally(checks: Sequence[Mapping[str, Any]]) -> str:
    """How many of a verdict's checks hold, and what became of the others."""
    counts = _counts(checks)
    said = {"failed": "refused", "warnings": "with a warning", "not_judged": "not judged"}
    held = f"{len(checks) - sum(counts.values())} of {len(checks)} checks hold"
    return ", ".join([held, *(f"{counts[name]} {words}" for name, words in said.items() if counts[name])])


def _verdict(checks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    passed = all(check["passed"] for check in checks)
    decision = f"{'A release may be built' if passed else 'No release is built'}: {tally(checks)}."
    return {"passed": passed, "decision": decision, "checks": list(checks)}


def _counts(checks: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """How many do not simply hold, by their answer."""
    names = {"failed": "refused", "warnings": "warning", "not_judged": "not judged"}
    return {name: sum(check["verdict"] == verdict for check in checks) for name, verdict in names.items()}


def _previous(served: Champion | None) -> str:
    if served is None:
        return "Previous release: none was named, so nothing is compared with what is served."
    until = f", of data up to {served.as_of[:10]}" if served.as_of else ""
    return f"Previous release: {served.name}{until}, pooled AUC {served.auc['pooled'].value:.4f}."
