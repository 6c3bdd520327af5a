"""Intra-domain expansion: how many unexposed candidates are drawn, which, and how evenly."""

import hashlib
from pathlib import Path

import pytest

from tests.samples.hand_log import HandLog, day

ITEMS = " ".join(f"i{n}" for n in range(12))


def digest(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


@pytest.mark.parametrize(("ratio", "drawn"), [(0.75, 2), pytest.param(50, 10, marks=pytest.mark.slow)])
def test_negatives_drawn_for_each_exposed_candidate(tmp_path: Path, ratio: float, drawn: int) -> None:
    log = HandLog()
    search = log.search(day(-12), ITEMS, exposed=2)
    rows = log.make(tmp_path, unexposed_per_exposed=ratio).samples
    rows = rows[rows["request_id"] == search]
    assert rows["label_source"].value_counts().to_dict() == {"native": 2} | ({"unexposed": drawn} if drawn else {})
    assert rows.query("exposed == 0")[["click", "purchase", "native_click"]].to_numpy().sum() == 0


def test_the_draw_follows_md5_and_spares_positives_and_evaluation(tmp_path: Path) -> None:
    log = HandLog()
    search = log.search(day(-12), ITEMS, exposed=2, name="คำขอ-1")
    log.event("click", "i5", day(-12, hours=3))
    valid, test = log.search(day(-4), ITEMS, exposed=2), log.search(day(1), ITEMS, exposed=2)
    rows = log.make(tmp_path, seed=5).samples
    assert rows["request_id"].isin([valid, test]).sum() == 24, "evaluation requests keep their whole list"
    rows = rows[rows["request_id"] == search]
    negatives = [item for item in ITEMS.split()[2:] if item != "i5"]
    expected = sorted(negatives, key=lambda item: digest(f"5|{digest(search)}{item}"))[:4]
    assert set(rows.query("exposed == 0")["item_id"]) == {*expected, "i5"}
    assert rows.set_index("item_id").loc["i0", "sample_id"] == digest(digest(search) + "i0")


def test_every_unexposed_candidate_is_drawn_equally_often(tmp_path: Path) -> None:
    log = HandLog()
    for n in range(600):
        log.search(day(-12, seconds=n), ITEMS, exposed=2)
    rows = log.make(tmp_path).samples.query("split == 'train' and exposed == 0")
    counts = rows["item_id"].value_counts()
    # 600 requests x 4 of 10: 240 each, standard deviation 12.
    assert len(counts) == 10
    assert counts.between(190, 290).all()
