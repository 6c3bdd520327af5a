"""What the gate asks of a relevance model's, a ranker's and the data's figures.

Choices (ours; the bounds are in `GateConfig`, how one is judged in `checks`):

- Relevance: every market with enough judgments of both classes reaches a floor, and is not far below the best baseline
  there, on the same resampled queries; so do all markets together, against each baseline.
- A baseline that is the best in a market by chance looks better than it is: the intervals of a market allow for all
  baselines that it could have been.
- Ranking: AUC and GAUC on native search exposures reach floors, and are not far below the baseline ranker's; so do
  those of the blend with relevance, which orders the page.
- A router that asks almost none of one expert, and clicks that are predicted too often or too seldom, warn.
- Data: nothing critical moved in any market, unless the profile expects it; other moves warn. What was not tested is
  not judged.
"""

import math
from collections.abc import Mapping
from typing import Any

from components.contracts.errors import BadInput
from components.contracts.tools.cells import Estimate, spell
from components.release.champion import Champion
from components.release.checks import Check, Figure, Verdict, at_least, more_needed, not_below, not_judged
from components.release.conclusions import RELEASED
from components.release.gate_config import GateConfig

POOLED = "pooled"
SUMMARIES = (POOLED, "macro", "interval")  # of a variant's metrics, beside its markets
_AUC = "relevance auc"
_SAID = 3  # findings that a market's check names


def relevance_checks(metrics: Mapping[str, Any], config: GateConfig) -> list[Check]:
    """AUC of each market and pooled against the floor and the baselines, and the mixture's router and size."""
    variants = _section(metrics, "relevance")
    released = _variant(variants, "relevance", config.relevance_variant)
    counts = _section(metrics, "judgments")
    baselines = [name for name in config.relevance_baselines if name in variants]
    markets = [name for name in released if name not in SUMMARIES]
    reasons = {market: _why_not(market, metrics, released, config) for market in markets}
    judged = [market for market in markets if not reasons[market]]

    def floor(where: str, count: int, questions: int) -> Check:
        estimate = Estimate.of(released.get(where), released.get("interval", {}).get(where))
        figure = Figure(estimate, count, "judgments").one_of(questions)
        return at_least(_AUC, where, figure, config.min_relevance_auc, "min_relevance_auc")

    def against(name: str, where: str, count: int, questions: int) -> Check:
        gain = Figure(_gain(metrics, released, config, name, where), count, "judgments").one_of(questions)
        tolerance = config.relevance_tolerance
        return not_below(_AUC, where, released.get(where), gain, name, tolerance, "relevance_tolerance")

    checks = []
    for market in markets:
        if reasons[market]:
            checks.append(not_judged(_AUC, market, reasons[market], released[market]))
            continue
        checks.append(floor(market, counts[market], len(judged)))
        if baselines:
            best = max(baselines, key=lambda name: variants[name].get(market) or 0.0)
            checks.append(against(best, market, counts[market], len(judged) * len(baselines)))
    total = sum(counts.values())
    checks.append(floor(POOLED, total, 1))
    checks += [against(name, POOLED, total, 1) for name in baselines]
    return [*checks, _router_check(metrics), _size_check(metrics, config)]


def _why_not(market: str, metrics: Mapping[str, Any], released: Mapping[str, Any], config: GateConfig) -> str:
    """Why the AUC of a market is not judged; empty where it is."""
    count = metrics["judgments"].get(market, 0)
    if count < config.min_judgments:
        return f"{count:,} judgments, {config.min_judgments:,} needed (gate.min_judgments)"
    if released[market] is None:
        some = metrics.get("relevant", {}).get(market, 0) > 0
        return f"{'every' if some else 'no'} judgment reaches the threshold (relevance.grade_threshold)"
    return ""


def _gain(
    metrics: Mapping[str, Any], released: Mapping[str, Any], config: GateConfig, baseline: str, where: str
) -> Estimate:
    """What the released variant gains over a baseline. Training compares the mixture alone with all others: another
    variant's gain has no interval."""
    value, reached = released.get(where), metrics["relevance"][baseline].get(where)
    row = metrics.get("deltas", {}).get(baseline, {}).get(where, {}) if config.relevance_variant == RELEASED else {}
    return Estimate.of(None if value is None or reached is None else value - reached, row.get("interval"))


def _router_check(metrics: Mapping[str, Any]) -> Check:
    name, balance = "router", metrics.get("balance", {}).get("released")
    if balance is None:
        return not_judged(name, "all", "how it spreads queries over the experts was not measured")
    spread = f"spread of its queries over the experts {balance['entropy']:.2f} of 1"
    if not balance["collapsed"]:
        return Check(name, "all", balance["entropy"], "passed", f"router asks every expert, {spread}")
    why = f"router has collapsed: it asks almost nothing of one of the experts, {spread} (relevance.load_balance)"
    return Check(name, "all", balance["entropy"], "warning", why)


def _size_check(metrics: Mapping[str, Any], config: GateConfig) -> Check:
    name, most = "active parameters", config.max_active_parameters
    count = metrics.get("active_parameters", {}).get(config.relevance_variant)
    if count is None:
        return not_judged(name, "all", "how many run for a pair was not measured")
    held = count <= most
    why = f"active parameters: {spell(count / 1e6)} M a pair {'are within' if held else 'exceed'} the budget of "
    why += f"{spell(most / 1e6)} M (gate.max_active_parameters)"
    margin = Estimate(most - count, None, None)
    return Check(name, "all", count, "passed" if held else "refused", why, ceiling=most, margin=margin)


def latency_check(serving: Mapping[str, Any] | None, config: GateConfig) -> Check:
    """99th percentile of the requests with which a run checked its release; None before there is one."""
    name, most = "latency p99", config.max_p99_ms
    if serving is None:
        return not_judged(name, "all", "it is measured where a run serves its release")
    value = serving["p99_ms"]
    held = value <= most
    why = f"latency p99: {spell(value)} ms of {serving['requests']:,} requests {'are within' if held else 'exceed'} "
    why += f"the budget of {spell(most)} ms (gate.max_p99_ms)"
    margin = Estimate(most - value, None, None)
    return Check(name, "all", value, "passed" if held else "warning", why, ceiling=most, margin=margin)


def ranking_checks(metrics: Mapping[str, Any], config: GateConfig) -> list[Check]:
    """AUC and GAUC of the released ranker, and of its blend with relevance, which orders the page, against the floors
    and against the baseline that was trained beside; and the ranker's predicted clicks in each market."""
    variants = _section(metrics, "ranking")
    released = _variant(variants, "ranking", metrics["released"])
    baseline = _variant(variants, "ranking", metrics["baseline"])
    markets = metrics.get("markets", {})
    requests = sum(figures["requests"] for figures in markets.values())
    ranked = {"ranking": released}
    if blended := variants.get(f"{metrics['released']}+blend"):
        ranked["blended ranking"] = blended
    checks = []
    for label, row in ranked.items():
        for metric, floor in (("auc", config.min_ranking_auc), ("gauc", config.min_ranking_gauc)):
            name, value, reached = f"{label} {metric}", row[metric], baseline[metric]
            own = Estimate.of(value, row.get("interval", {}).get(metric))
            checks.append(at_least(name, POOLED, Figure(own, requests, "requests"), floor, f"min_ranking_{metric}"))
            bounds = row["difference"][metric][1:] if "difference" in row else None
            gain = Estimate.of(None if value is None or reached is None else value - reached, bounds)
            against = (metrics["baseline"], config.ranking_tolerance, "ranking_tolerance")
            checks.append(not_below(name, POOLED, value, Figure(gain, requests, "requests"), *against))
    judged = sum(figures["calibration"] is not None for figures in markets.values())
    return checks + [_calibration_check(market, own, judged, config) for market, own in markets.items()]


def _calibration_check(market: str, figures: Mapping[str, Any], questions: int, config: GateConfig) -> Check:
    """Predicted over actual clicks of a market; beyond its bounds it warns."""
    name, ratio = "predicted/actual clicks", figures["calibration"]
    if ratio is None:
        return not_judged(name, market, f"no click on {figures['exposures']:,} exposures")
    least, most = 1 / config.max_miscalibration, config.max_miscalibration
    low, high = figures["calibration_interval"] or (None, None)
    if ratio > 1:  # too many are judged as too few: by the ratio turned over
        estimate = Estimate(1 / ratio, 1 / high if high else None, 1 / low if low else None)
    else:
        estimate = Estimate(ratio, low, high)
    margin = Figure(estimate, figures["requests"], "requests").one_of(questions).above(least)
    value, high = margin.estimate.value or 0.0, margin.estimate.high
    held = value >= 0
    why = f"predicted clicks of {market}: {spell(ratio)} times the actual ones, {'within' if held else 'outside of'} "
    why += f"{spell(least)} to {spell(most)} (gate.max_miscalibration)"
    if not held and high is not None and high >= 0:
        why += f"; its {100 * margin.level:.3g} % interval reaches that: {more_needed(margin)}"
    verdict: Verdict = "passed" if held else "warning"
    return Check(name, market, ratio, verdict, why, least, most, margin.estimate)


def drift_checks(drift: Mapping[str, Any]) -> list[Check]:
    """Nothing critical moved in any market, unless the profile expects drift; and something was tested."""
    checks = [_drift_check(market, verdict, drift) for market, verdict in drift["markets"].items()]
    tested = sum(verdict["tested"] for verdict in drift["markets"].values())
    if not tested:
        reason = "no column could be tested, so nothing says that the data did not drift (monitoring.min_rows)"
        return [*checks, not_judged("drift tested", "all", reason)]
    why = f"{tested} columns were tested for drift"
    return [*checks, Check("drift tested", "all", tested, "passed", why, floor=1)]


def _drift_check(market: str, verdict: Mapping[str, Any], drift: Mapping[str, Any]) -> Check:
    said = "; ".join(verdict["because"][:_SAID])
    absent = [column for column in drift["untested"] if column["market"] == market and column["column"] != "*"]
    beside = f"; {len(absent)} not tested ({absent[0]['column']}: {absent[0]['why']})" if absent else ""
    critical = verdict["severity"] == "critical"
    if not critical and not verdict["tested"]:
        return not_judged("drift", market, said + beside, verdict["critical"])
    answer: Verdict = "passed"
    if critical:
        answer = "passed" if drift["expected"] else "refused"
        why = f"{market} drifted ({said})" + (", as the profile expects" if drift["expected"] else "")
    elif verdict["warnings"]:
        answer = "warning"
        number = f"{verdict['warnings']} warning{'s' * (verdict['warnings'] != 1)}"
        why = f"{market}: {number} beside {verdict['tested']} columns tested, none critical"
        why += f" ({said})"
    else:
        why = f"{market}: none of {verdict['tested']} columns moved"
    return Check("drift", market, verdict["critical"], answer, why + beside, ceiling=0)


def champion_checks(metrics: Mapping[str, Any], champion: Champion, config: GateConfig) -> list[Check]:
    """AUC against the release that is served, in every market that both know, and pooled.

    Either was measured out of fold on the judgments of its own time. The champion has learned from its own, and would
    look better on them than it is: so no common judgments are scored, and the interval of a difference is that of two
    independent figures, which is too wide where most judgments are the same.
    """
    released = _variant(_section(metrics, "relevance"), "relevance", config.relevance_variant)
    counts = _section(metrics, "judgments")
    shared = [market for market in counts if released.get(market) is not None and market in champion.auc]
    totals = {market: counts[market] for market in shared} | {POOLED: sum(counts.values())}
    checks = []
    for where, count in totals.items():
        own = Estimate.of(released.get(where), released.get("interval", {}).get(where))
        gain = Figure(_difference(own, champion.auc[where]), count, "judgments").one_of(
            1 if where == POOLED else len(shared)
        )
        against = (f"release {champion.name}", config.relevance_tolerance, "relevance_tolerance")
        checks.append(not_below(_AUC, where, own.value, gain, *against))
    gone = sorted(set(champion.markets) - set(released))
    if gone:
        why = f"release {champion.name} serves {', '.join(gone)}, which this one does not know"
        checks.append(Check("markets", "all", len(gone), "warning", why, ceiling=0))
    return checks


def _difference(one: Estimate, other: Estimate) -> Estimate:
    """Of two independent figures."""
    if one.value is None or other.value is None:
        return Estimate(None, None, None)
    value = one.value - other.value
    if one.low is None or one.high is None or other.low is None or other.high is None:
        return Estimate(value, None, None)
    below = math.hypot(one.value - one.low, other.high - other.value)
    return Estimate(value, value - below, value + math.hypot(one.high - one.value, other.value - other.low))


def _section(metrics: Mapping[str, Any], name: str) -> dict[str, Any]:
    if not isinstance(metrics.get(name), dict):
        raise BadInput(f"manifest has no metrics {name!r} (found: {', '.join(metrics)})")
    return dict(metrics[name])


def _variant(variants: Mapping[str, Any], section: str, name: str) -> dict[str, Any]:
    if name not in variants:
        raise BadInput(f"metrics {section!r} lack the variant {name!r} (found: {', '.join(variants)})")
    return dict(variants[name])
