"""README tables come from results, and a slot without a result is an error."""

import pytest

from components.contracts.errors import BadInput
from tests.bench.tables import (
    bench_table,
    fusion_table,
    gpu_experts_table,
    gpu_mixture_table,
    gpu_precision_table,
    ranking_table,
    relevance_table,
    render,
    run_table,
    spaces_table,
    study_table,
)

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


STUDY = {
    "simulated": False,
    "command": "python study.py",
    "machine": "2 cores",
    "judged": {"pairs": 21000, "queries": 19000},
    "relevance": {"mixture": {"pooled": 0.74}, "dense": {"pooled": 0.73}, "tfidf": {"pooled": 0.75}},
    "deltas": {
        "dense": {"pooled": {"mixture_minus": 0.0101, "interval": [0.004, 0.016]}},
        "tfidf": {"pooled": {"mixture_minus": -0.01, "interval": [-0.02, 0.001]}},
    },
    "seeds": {"mixture": [0.74, 0.74], "dense": [0.73, 0.73], "tfidf": [0.75, 0.75]},
    "quality": {"mixture": {"pr_auc": 0.8}, "dense": {"pr_auc": 0.79}, "tfidf": {"pr_auc": 0.81}},
    "active_parameters": {"mixture": 66e6, "dense": 100e6},
    "spaces": {
        "spaces": {
            "e5": {"width": 384, "mean_cosine": 0.91, "top_share": 0.2, "effective_rank": 120.4, "isoscore": 0.05}
        },
        "pairs": [{"left": "e5", "right": "gemma", "cka": 0.5466, "procrustes": 0.61}],
    },
}


def test_a_study_shows_gains_and_losses_alike() -> None:
    lines = study_table(STUDY).splitlines()
    assert lines[2] == "| tfidf |  | 0.7500 | -1.00 | -2.00 .. +0.10 | 0.8100 |"
    assert lines[3] == "| mixture | 66 | 0.7400 |  |  | 0.8000 |"
    assert lines[4] == "| dense | 100 | 0.7300 | +1.01 | +0.40 .. +1.60 | 0.7900 |"
    assert lines[-1].startswith("21,000 pairs, 19,000 queries, out of fold, 2 seeds. Real judgments;")
    several = {name: figures | {"ndcg@10": 0.9} for name, figures in STUDY["quality"].items()}
    with_ndcg = study_table(STUDY | {"judged": {"pairs": 40_000, "queries": 19_000}, "quality": several})
    assert "| mixture | 66 | 0.7400 |  |  | 0.8000 | 0.9000 |" in with_ndcg and "PR-AUC | NDCG@10 |" in with_ndcg
    spaces = spaces_table(STUDY)
    assert "| e5 | 384 | 0.910 | 0.200 | 120 | 0.050 |" in spaces and "| e5, gemma | 0.547 | 0.610 |" in spaces


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


def test_tables_of_a_gpu_name_it() -> None:
    made = {"command": "python b.py", "machine": {"gpu": "NVIDIA H200", "cores": 16, "torch": "2.11.0"}}
    source = "`python b.py` on one NVIDIA H200, 16 cores, PyTorch 2.11.0."
    way = {"pairs_per_second": 9407.1, "queries_per_second": 940.7, "mfu": 0.43, "padding": 0.004}
    experts = gpu_experts_table(made | {"product_tflops": 811.2, "shapes": {"qwen3-0.6b": {"ways": {"packed": way}}}})
    assert "| qwen3-0.6b | packed | 9,407.1 | 940.7 | 0.43 | 0.004 |" in experts
    assert "MFU is over 811 TFLOP/s" in experts and source in experts
    found = {"bfloat16": {"relative_error": 0.012, "auc": 0.6841, "pairs_per_second": 45063}}
    precision = gpu_precision_table(made | {"experts": {"gemma": found}})
    assert "| gemma | bfloat16 | 1.2e-02 | 0.6841 | 45,063 |" in precision and source in precision
    ratios = {"batch_over_control": 1.5, "batch_over_control_repeated": 2.0}
    counted = {"active_parameters": 88e6, "queries_per_second": {"batch": 4000.0}}
    dense = {"layers": 18, "parameters": 100e6, "mixture_over_dense": 1.1}
    mixture = gpu_mixture_table(made | ratios | counted | {"dense": [dense]})
    assert "| mixture over 18 layers of Gemma (100 M) | 1.10 |" in mixture and source in mixture
    assert "the mixture, 88 M active parameters, scores 4,000 queries" in mixture


def test_fusion_table_says_what_concatenation_gains() -> None:
    heads = {
        "concatenation": {"pooled": 0.71, "concatenation_minus": 0.0, "interval": [0.0, 0.0]},
        "average": {"pooled": 0.69, "concatenation_minus": 0.02, "interval": [0.015, 0.025]},
        "gated sum": {"pooled": 0.71, "concatenation_minus": 1e-5, "interval": [-0.001, 0.001]},
    }
    source = {"simulated": False, "command": "python f.py", "machine": "2 cores"}
    table = fusion_table({"heads": heads, "experts": ["gemma", "e5"], "seeds": 3, **source})
    assert "| concatenation | 0.7100 |  |  |" in table
    assert "| average | 0.6900 | +2.00 | +1.50 .. +2.50 |" in table
    assert "| gated sum | 0.7100 | +0.00 | -0.10 .. +0.10 |" in table
    assert "gemma, e5; 3 seeds. Real judgments; `python f.py` on 2 cores." in table
