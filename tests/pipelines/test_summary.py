"""What a person reads at the end of a run."""

import pytest

from pipelines.summary import show

MARKETS = ["AR", "DE", "EN", "ES", "FR", "IT", "JA", "KO", "PL", "PT"]
VARIANTS = ["mixture", "weighted_average", "a-long-expert-name", *(f"variant-{number}" for number in range(9))]


def row(value: float) -> dict:
    names = [*MARKETS, "macro", "pooled"]
    return dict.fromkeys(names, value) | {"interval": {name: [value - 0.01, value + 0.01] for name in names}}


def summary(**changes: object) -> dict:
    relevance = {name: row(0.7 - place / 1000) for place, name in enumerate(VARIANTS)}
    relevance["mixture"]["JA"] = relevance["mixture"]["interval"]["JA"] = None
    content = {
        "simulated": False,
        "markets": MARKETS,
        "relevance": relevance,
        "ranking": None,
        "stages": {"load": 1.0},
        "peak_rss_mb": 100.0,
        "drift": {"drifted": False},
        "gate": {"passed": True},
        "release": {"path": "runs/x/releases/abc"},
        "serving": None,
        "reports": {},
    }
    return content | changes


def test_every_variant_and_market_is_printed_whole(capsys: pytest.CaptureFixture[str]) -> None:
    show(summary())
    said = capsys.readouterr().out
    assert all(name in said for name in VARIANTS), "no column may be cut where the output is not a wide terminal"
    lines = {line.split("\u2502")[1].strip(): line for line in said.splitlines() if line.startswith("\u2502")}
    assert set(MARKETS) | {"macro", "pooled"} <= set(lines)
    assert "0.690 .. 0.710" in lines["EN"]
    assert lines["JA"].split("\u2502")[2].strip() == "-"


def test_a_refused_release_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    show(summary(gate={"passed": False}, release=None))
    said = capsys.readouterr().out
    assert "refused" in said and "none" in said
