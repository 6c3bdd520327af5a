"""Coverage on hand-made logs, against sums done by hand."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.contracts.tables import write_table
from components.samples.volumes import coverage_shares
from tests.samples.hand_log import HandLog, Made, day

T = day(-12)


def crowded() -> HandLog:
    """Twenty users see one item (half of them click it), and are listed two more: of high and of low relevance."""
    log = HandLog()
    log.relevance = {("phone", "shown"): 0.95, ("phone", "high"): 0.92, ("phone", "low"): 0.12}
    for n in range(20):
        user = f"u{n}"
        search = log.search(day(-13), "shown high low", exposed=1, user=user)
        if n < 10:
            log.event("click", "shown", day(-13, seconds=9), request=search, user=user)
        if n < 4:
            log.event("click", "high", day(-13, hours=2), user=user)
            log.event("purchase", "high", day(-13, hours=3), user=user)
    return log


def figures(made: Made) -> dict:  # type: ignore[type-arg]
    return coverage_shares(made.result.coverage)


def test_estimate_is_the_native_rate_at_equal_relevance(tmp_path: Path) -> None:
    """Both unexposed items count for the shown one's rate of 1/2: "low" because no shown row is as irrelevant."""
    made = crowded().make(tmp_path)
    expected = {"unexposed": 40, "recovered": 4, "estimated": 20.0, "estimated_share": 0.2}
    for name in ("TH", "all"):
        assert {key: figures(made)[name][key] for key in expected} == expected
        assert figures(made)[name]["share"] is None, "a log without truth has an estimate only"


def test_truth_is_the_sum_of_chances_of_unexposed_rows(tmp_path: Path) -> None:
    log = crowded()
    chance = {"shown": 0.9, "high": 0.25, "low": 0.05, "filler": 0.5}
    write = log.write

    def with_truth(root: Path, shuffle: int | None = None) -> tuple[Path, Path, Path]:
        paths = write(root, shuffle)
        listed = pq.read_table(paths[0] / "candidates.parquet").select(["request_id", "item_id"])
        chances = pa.array([chance[item] for item in listed["item_id"].to_pylist()], pa.float32())
        utility = pa.array([0.0] * listed.num_rows, pa.float32())
        truth = listed.append_column("utility", utility).append_column("click_chance", chances)
        write_table(truth, paths[0] / "oracle.parquet")
        return paths

    log.write = with_truth  # type: ignore[method-assign]
    found = figures(log.make(tmp_path))["TH"]
    assert found["expected"] == pytest.approx(20 * 0.25 + 20 * 0.05)
    assert found["share"] == pytest.approx(4 / 6, abs=1e-4)
    assert found["chance"] == pytest.approx(6 / 40)
    assert found["chance_of_recovered"] == pytest.approx(0.25)


def test_credit_to_shown_rows_and_outside_the_window_recovers_nothing(tmp_path: Path) -> None:
    log = HandLog()
    log.search(day(-13), "a b", exposed=1)
    log.event("click", "a", day(-13, hours=2))
    log.search(day(-7), "a b", exposed=1)
    log.event("click", "b", day(-7, hours=2))
    made = log.make(tmp_path)
    assert {row["event_id"] for row in made.result.credited.to_pylist()} == {"e0", "e1"}
    assert figures(made)["all"]["recovered"] == 0
