"""README tables come from results, and a slot without a result is an error."""

import pytest

from components.contracts.errors import BadInput
from pipelines.tables import bench_table, ranking_table, relevance_table, render, run_table

RESULT = {
    "simulated": True,
    "markets": ["TH", "VN"],
    "command": "make run",
    "machine": "2 cores",
    "seconds": 90.0,
    "peak_rss_mb": 2048.0,
    "relevance": {
        "mixture": {"TH": 0.7, "VN": None, "macro": 0.7, "pooled": 0.71, "interval": {"pooled": [0.69, 0.73]}}
    },
    "ranking": {"dlrm_exposed": {"auc": 0.6, "gauc": 0.55, "hr@5": 0.4, "ndcg@10": 0.3}},
    "serving": {"requests": 12, "p50_ms": 20.0, "p99_ms": 40.0, "max_abs_diff": 2e-6},
}


def test_tables_hold_the_measured_figures_and_say_where_they_come_from() -> None:
    table = relevance_table(RESULT)
    assert "| mixture | 0.700 | - | 0.700 | 0.710 | 0.690 .. 0.730 |" in table
    assert "Simulated data; `make run` on 2 cores." in table
    assert "| dlrm_exposed | 0.6000 | 0.5500 | 0.4000 | 0.3000 |" in ranking_table(RESULT)
    assert "| 1.5 min |" in run_table(RESULT) and "2.0e-06" in run_table(RESULT)
    bench = {
        "figure": {"events_per_second": 120000},
        "baseline": {"what": "target"},
        "ratio": 2.4,
        "command": "make bench",
        "machine": "m",
    }
    assert "| simulator | events per second: 120,000 | what: target | 2.40 | `make bench` |" in bench_table(
        {"simulator": bench}
    )


def test_real_judgments_are_never_called_simulated() -> None:
    assert "Real judgments" in relevance_table(RESULT | {"simulated": False})


def test_render_fills_slots_again_and_again_and_keeps_the_rest() -> None:
    readme = "a\n<!-- table:x -->\nold\n<!-- end -->\nb\n"
    once = render(readme, {"x": "| new |"})
    assert once == "a\n<!-- table:x -->\n| new |\n<!-- end -->\nb\n"
    assert render(once, {"x": "| new |"}) == once


def test_a_slot_without_a_result_is_refused() -> None:
    with pytest.raises(BadInput, match="nowhere"):
        render("<!-- table:nowhere -->\n<!-- end -->", {})
