"""Attribution's options on hand-made logs: which searches are relevant, whether shown rows are credited, thinning."""

from pathlib import Path

import pytest

from components.samples.config import PAPER_LABELS, SamplesConfig
from pipelines.profile import load_profile
from tests.samples.hand_log import HandLog, day

T = day(-12)


def test_thresholds_decide_what_is_relevant(tmp_path: Path) -> None:
    """Natively clicked pairs score .30 and up; the threshold on judgments is .5, and one pair has no score."""
    log = HandLog()
    for n in range(21):
        log.relevance["phone", f"n{n}"] = 0.3 + 0.01 * n
        search = log.search(day(-15), f"n{n}", user=f"n{n}")
        log.event("click", f"n{n}", day(-15, seconds=9), request=search, user=f"n{n}")
    log.relevance |= {
        ("phone", "high"): 0.6,
        ("phone", "fair"): 0.4,
        ("phone", "low"): 0.2,
        ("phone", "unscored"): None,
    }
    log.search(day(-12, hours=-1), "z high fair low unscored", exposed=1)
    events = {item: log.event("click", item, T) for item in ("high", "fair", "low", "unscored")}
    credited = {}
    for threshold in ("youden", "low_quantile", "none"):
        made = log.make(tmp_path / threshold, relevance_threshold=threshold, threshold_quantile=0.05)
        credited[threshold] = {item for item, event in events.items() if made.fate(event) == "attributed"}
    assert credited == {
        "youden": {"high"},
        "low_quantile": {"high", "fair"},
        "none": {"high", "fair", "low", "unscored"},
    }


def test_a_low_quantile_without_native_clicks_takes_every_scored_pair(tmp_path: Path) -> None:
    log = HandLog()
    log.relevance = {("phone", "low"): 0.01, ("phone", "unscored"): None}
    log.search(day(-12, hours=-1), "z low unscored", exposed=1)
    low, unscored = (log.found("click", item, T) for item in ("low", "unscored"))
    made = log.make(tmp_path, relevance_threshold="low_quantile")
    assert (made.fate(low), made.fate(unscored)) == ("attributed", "searchified")


def test_without_exposed_credit_shown_rows_keep_native_labels_and_spend_their_events(tmp_path: Path) -> None:
    log = HandLog()
    shown = log.search(day(-12, hours=-20), "a b", exposed=2)
    log.event("click", "b", day(-12, hours=-19), request=shown)
    listed = log.search(day(-12, hours=-1), "z a c", exposed=1)
    spent = log.event("click", "a", T)
    bought = log.event("purchase", "b", T)
    found = log.event("click", "c", T)
    made = log.make(tmp_path, exposed_credit=False)
    assert [made.fate(e) for e in (spent, bought, found)] == [
        "search showed it: the row keeps its native label",
        "search showed it: the row keeps its native label",
        "attributed",
    ]
    for item, click in (("a", 0), ("b", 1)):
        row = made.row(shown, item)
        assert (row["click"], row["purchase"], row["label_source"]) == (click, 0, "native")
    assert not made.has(listed, "a"), "the shown row explains the event, and what was clicked is no negative"
    assert made.row(listed, "c")[["click", "label_source"]].tolist() == [1, "attributed"]
    assert made.pseudo.empty


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_unexposed_weight_thins_positives_and_negatives_alike(tmp_path: Path, share: float) -> None:
    log = HandLog()
    items = " ".join(f"i{n}" for n in range(30))
    for n in range(40):
        log.search(day(-12, seconds=n), items, exposed=10, user=f"u{n}", name=f"s{n}")
        for item in range(10, 20):
            log.event("click", f"i{item}", day(-12, hours=1), user=f"u{n}")
    made = log.make(tmp_path, unexposed_weight=share, unexposed_per_exposed=1)
    rows = made.samples.query("split == 'train' and domain == 'search'")
    counts = rows["label_source"].value_counts()
    assert counts["native"] == 400, "shown rows are never thinned"
    assert counts["attributed"] == pytest.approx(400 * share, abs=60 * (share < 1))
    assert counts["unexposed"] == pytest.approx(400 * share, abs=60 * (share < 1))
    assert len(made.samples.query("split != 'train'")) == 2, "evaluation keeps whole lists"


def test_the_papers_labels_are_a_profile_and_departures_are_named() -> None:
    assert load_profile("paper-es3").samples.departures == {}
    assert SamplesConfig(**PAPER_LABELS).departures == {}
    assert SamplesConfig(**{**PAPER_LABELS, "exposed_credit": False}).departures == {
        "exposed_credit": {"here": False, "paper": True}
    }
    assert "exposed_credit" in load_profile("laptop").samples.departures
