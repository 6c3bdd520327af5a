"""What was too long for an expert is counted by market, whoever tokenises."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from components.relevance.encoding.texts import CutCounts, normal_pairs
from components.relevance.evaluation.report import cut_table


def test_counts_add_up_by_expert_and_market() -> None:
    counts = CutCounts()
    cut_R2 = np.array([[True, False], [True, True], [False, False]])
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: counts("e5", ["TH", "ID", "ID"], cut_R2), range(50)))
    counts("gemma", ["TH"], cut_R2[2:])
    assert counts.of_markets() == {
        "e5": {
            "ID": {"pairs": 100, "of_query": 50, "of_item": 50},
            "TH": {"pairs": 50, "of_query": 50, "of_item": 0},
        },
        "gemma": {"TH": {"pairs": 1, "of_query": 0, "of_item": 0}},
    }
    assert str(counts) == "e5 in ID 50 queries and 50 items of 100 pairs; e5 in TH 50 queries and 0 items of 50 pairs"
    assert cut_table({"cut": counts.of_markets()}).frame["query cut"].tolist() == [0.5, 1.0, 0.0]


def test_nothing_cut_is_none() -> None:
    assert str(CutCounts()) == "none"
    assert cut_table({"cut": {}}).frame.empty


def test_pairs_are_read_in_normal_form() -> None:
    assert normal_pairs(["TH"], ["\u200b KAOS\xa0"], ["Kaos\u200b  ”"]) == [("TH", "kaos", 'Kaos "')]
