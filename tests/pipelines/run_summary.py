"""The content of a summary.json, for tests of what is made of it."""

from typing import Any

MARKETS = ["AR", "DE", "EN", "ES", "FR", "IT", "JA", "KO", "PL", "PT"]
VARIANTS = ["mixture", "weighted_average", "a-long-expert-name", *(f"variant-{number}" for number in range(9))]
METRICS = ("auc", "gauc", "hr@5", "ndcg@10")


def _relevance(value: float) -> dict[str, Any]:
    names = [*MARKETS, "macro", "pooled"]
    return dict.fromkeys(names, value) | {"interval": {name: [value - 0.01, value + 0.01] for name in names}}


def _ranking(value: float, gain: float, half: float) -> dict[str, Any]:
    return dict.fromkeys(METRICS, value) | {
        "interval": {key: [value - 0.01, value + 0.01] for key in METRICS},
        "difference": {key: [gain, gain - half, gain + half] for key in METRICS},
    }


def delta(low: float, high: float) -> dict[str, Any]:
    """What the mixture gains over a variant."""
    return {key: {"mixture_minus": (low + high) / 2, "interval": [low, high]} for key in ("macro", "pooled")}


def gate(passed: bool) -> dict[str, Any]:
    """A verdict of one check."""
    return {
        "passed": passed,
        "decision": "A release may be built." if passed else "No release is built.",
        "checks": [{"passed": passed, "verdict": "passed" if passed else "refused", "why": "made for a test"}],
    }


def summary(**changes: object) -> dict[str, Any]:
    """A run on a log, with the parts in `changes` replaced."""
    relevance = {name: _relevance(0.7 - place / 1000) for place, name in enumerate(VARIANTS)}
    relevance["mixture"]["JA"] = relevance["mixture"]["interval"]["JA"] = None
    content = {
        "simulated": False,
        "markets": MARKETS,
        "as_of": "2026-01-01T00:00:00+00:00",
        "relevance": relevance,
        "lexical_share": 0.25,
        "deltas": {name: delta(0.001, 0.02) for name in VARIANTS[1:]},
        "ranking": {"dlrm_exposed": _ranking(0.75, 0.0, 0.0), "hhsft_es3": _ranking(0.7542, 0.0042, 0.0052)},
        "baseline": "dlrm_exposed",
        "leak": {"scored": 0.5, "relevance": 0.71, "native": 0.7, "reasons": []},
        "stages": {"load": 1.0},
        "peak_rss_mb": 100.0,
        "drift": {"drifted": False},
        "gate": gate(True),
        "release": None,
        "serving": {"requests": 12, "p50_ms": 20.0, "p99_ms": 40.0, "max_abs_diff": 1e-7},
        "reports": {"index": "runs/x/index.html"}
        | {name: f"runs/x/reports/{name}.html" for name in ("marketplace", "relevance", "ranking", "drift", "gate")},
    }
    return content | changes
