"""The pages' tables come from results and are not stale; a gain has its interval, and one that holds 0 is said to."""

import json
import re
from pathlib import Path

import pytest

from components.contracts.errors import BadInput
from tests.bench import tables
from tests.bench.cells import Gain, table
from tests.bench.evidence import (
    MIXTURES,
    STEPS,
    STUDIES,
    VARIANTS,
    areas,
    by_study,
    figures,
    fusion_steps,
    gains,
    gpu_mixture,
    page_tables,
    precisions,
    ranking,
    speed,
)
from tests.bench.findings import Finding
from tests.bench.measured import RESULTS, ROOT, measured
from tests.bench.tables import PAGE, README, record_run, render, rendered

MADE = {"simulated": True, "command": "make run", "machine": "2 cores"}
STUDY = {
    "simulated": False,
    "command": "python study.py",
    "machine": "2 cores",
    "judged": {"pairs": 21_000, "queries": 19_000},
    "relevance": {
        "mixture": {"TH": 0.74, "VN": None, "macro": 0.74, "pooled": 0.74, "interval": {"pooled": [0.72, 0.76]}},
        "tfidf": {"TH": 0.75, "VN": None, "macro": 0.75, "pooled": 0.75, "interval": {"pooled": [0.73, 0.77]}},
    },
    "markets": ["TH", "VN"],
    "deltas": {"tfidf": {"pooled": {"mixture_minus": -0.01, "interval": [-0.02, 0.001]}}},
    "quality": {"mixture": {"pr_auc": 0.8, "ndcg@10": 0.9}, "tfidf": {"pr_auc": 0.81, "ndcg@10": 0.91}},
    "active_parameters": {"mixture": 66e6},
}


@pytest.mark.parametrize("page", [README, PAGE], ids=["README", "evidence"])
def test_no_page_is_stale(page: Path) -> None:
    assert page.read_text(encoding="utf-8") == rendered(page), "run `make tables`"


def test_every_table_stands_once_and_every_result_is_read() -> None:
    def places(page: Path) -> list[str]:
        return sorted(re.findall(r"<!-- table:([\w-]+) -->", page.read_text(encoding="utf-8")))

    assert places(PAGE) == sorted(page_tables()) and places(README) == ["findings"]
    singles = {"load", "retrieval", "run-laptop", "scoring", "serving", "simulator", "simulator-entire-space", "soak"}
    singles |= {
        "judgments",
        "volumes",
        "entire-space",
        "training-set",
        "drift",
        "drift-speed",
        "gpu-experts",
        "gpu-precision",
        "gpu-prefix",
        "gpu-triton",
    }
    read = {*STUDIES.values(), *STEPS.values(), *MIXTURES.values(), *singles}
    assert {path.stem for path in RESULTS.glob("*.json")} == read
    assert {variant for name in STUDIES.values() for variant in measured(name)["relevance"]} == set(VARIANTS)


def test_commands_of_results_are_modules_that_exist() -> None:
    for path in RESULTS.glob("*.json"):
        command = json.loads(path.read_text(encoding="utf-8"))["command"]
        module = re.match(r"python -m ([\w.]+)", command)
        assert command.startswith("make run") or (module and (ROOT / f"{module[1].replace('.', '/')}.py").is_file())


def test_a_gain_whose_interval_holds_zero_is_undecided() -> None:
    assert str(Gain(0.0301, 0.024, 0.0367)) == "+3.01<br>+2.40&nbsp;..&nbsp;+3.67"
    assert str(Gain(-0.0009, -0.0022, 0.0004)) == "-0.09,&nbsp;undecided<br>-0.22&nbsp;..&nbsp;+0.04"
    assert str(Gain(-0.002, -0.0031, -0.0008)) == "-0.20<br>-0.31&nbsp;..&nbsp;-0.08"
    shown = Finding.of_gain("x", Gain(0.004, -0.003, 0.01), "here", "simulated data").cells
    assert shown[0] == "[x](tests/bench/README.md#here), *simulated data*"
    assert shown[1:] == ["+0.40 points", "-0.30 .. +1.00: holds 0, so no gain is shown"]
    assert Finding.of_gain("x", Gain(0.004, 0.001, 0.01), "here").cells[2] == "+0.10 .. +1.00"


def test_a_table_puts_figures_on_the_right() -> None:
    assert table(["a", "b", "c"], [["x", "y", "1"]], texts=2) == "| a | b | c |\n| --- | --- | ---: |\n| x | y | 1 |"


def test_studies_stand_side_by_side_and_say_what_was_not_run() -> None:
    without = STUDY | {"deltas": {}}
    table = gains(["tfidf", "soft"], {"a": STUDY, "b": without})
    assert table.splitlines()[0] == "| gain over | a |"
    assert table.splitlines()[2:] == [f"| tfidf | {Gain(-0.01, -0.02, 0.001)} |", "| soft | not run |"]
    assert "| mixture | 0.7400<br>66&nbsp;M |" in figures({"a": STUDY}) and "| tfidf | 0.7500 |" in figures(
        {"a": STUDY}
    )
    several = STUDY | {"judged": {"pairs": 40_000, "queries": 19_000}}
    assert "| mixture | 0.8000 | 0.8000 (0.9000) |" in precisions({"a": STUDY, "b": several})
    assert by_study("x", ["v"], {"a": STUDY}, lambda result, variant: None) == "| x |\n| --- |\n| v |"


def test_areas_hold_each_market_and_say_where_they_come_from() -> None:
    table = areas(STUDY)
    assert "| mixture | 0.740<br>0.720&nbsp;..&nbsp;0.760 | 0.740 | 0.740 | none |" in table
    assert table.endswith("Real judgments; `python study.py` on 2 cores.")
    assert areas(STUDY | MADE).endswith("Simulated data; `make run` on 2 cores.")


def test_ranking_shows_each_difference_with_its_interval() -> None:
    def row(auc: float, difference: list[float]) -> dict[str, object]:
        names = ("auc", "gauc", "hr@5", "ndcg@10")
        return {**dict.fromkeys(names, auc), "difference": dict.fromkeys(names, difference)}

    found = {"dlrm_exposed": row(0.6, [0.0, 0.0, 0.0]), "hhsft_es3": row(0.61, [0.01, -0.002, 0.02])}
    table = ranking(MADE | {"ranking": found, "oracle": {"hhsft_es3": {"ndcg@10": 0.9}}})
    assert "| dlrm_exposed | 0.6000 |  |" in table and "| not measured |" in table
    assert f"| hhsft_es3 | 0.6100 | {Gain(0.01, -0.002, 0.02)} |" in table and "| 0.9000 |" in table


def test_fusion_steps_keep_the_interval_of_a_tie() -> None:
    heads = {
        name: {"pooled": 0.7, "concatenation_minus": 0.02, "interval": [0.015, 0.025]}
        for name in measured("fusion-tuned")["heads"]
    }
    heads["concatenation"] = {"pooled": 0.71, "concatenation_minus": 0.0, "interval": [0.0, 0.0]}
    heads["gated sum"] = {"pooled": 0.71, "concatenation_minus": 1e-5, "interval": [-0.001, 0.001]}
    table = fusion_steps({"tuned": MADE | {"heads": heads}})
    assert "| concatenation | 0.7100 |  |" in table
    assert f"| average | 0.7000 | {Gain(0.02, 0.015, 0.025)} |" in table
    assert f"| gated sum | 0.7100 | {Gain(1e-5, -0.001, 0.001)} |" in table


def test_speeds_name_their_machine_and_their_baseline() -> None:
    machine = {"gpu": "NVIDIA H200", "cores": 16, "torch": "2.11.0"}
    ratios = {"batch_over_control": 1.5, "batch_over_control_repeated": 2.0, "active_parameters": 88e6}
    dense = {"layers": 18, "parameters": 100e6, "mixture_over_dense": 1.1}
    run = MADE | ratios | {"machine": machine, "queries_per_second": {"batch": 4000.0}, "dense": [dense]}
    table = gpu_mixture({"a": run, "b": run | {"dense": [dense | {"layers": 16}]}})
    assert "| mixture over 18 layers of Gemma (100 M) | 1.10 | not run |" in table
    assert "- a: Simulated data; `make run` on one NVIDIA H200, 16 cores, PyTorch 2.11.0." in table
    bench = MADE | {"figure": {"events_per_second": 120000}, "baseline": {"what": "target"}, "ratio": 2.4}
    assert "| simulator | events per second: 120,000 | what: target | 2.40 |" in speed({"simulator": bench})


def test_a_recorded_run_keeps_the_intervals_of_both_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    run, deltas = tmp_path / "run", STUDY["deltas"]
    summary = dict.fromkeys(tables._OF_SUMMARY) | {"drift": {"drifted": False}, "ranking": {"a": {"difference": {}}}}
    model = run / "pipeline" / "one" / "train" / "model"
    model.mkdir(parents=True)
    (run / "summary.json").write_text(json.dumps(summary))
    (model / "manifest.json").write_text(json.dumps({"metrics": {}}))
    with pytest.raises(BadInput, match="no manifest of a relevance model"):
        record_run(run, "mine", "make run")
    (model / "manifest.json").write_text(json.dumps({"metrics": {"deltas": deltas}}))
    record_run(run, "mine", "make run")
    kept = json.loads((tmp_path / "run-mine.json").read_text())
    assert kept["deltas"] == deltas and kept["ranking"] == summary["ranking"] and kept["command"] == "make run"


def test_render_fills_places_again_and_again_and_keeps_the_rest() -> None:
    page = "a\n<!-- table:x -->\nold\n<!-- end -->\nb\n"
    once = render("page", page, {"x": "| new |"})
    assert once == "a\n<!-- table:x -->\n| new |\n<!-- end -->\nb\n"
    assert render("page", once, {"x": "| new |"}) == once


def test_a_place_without_a_table_is_refused() -> None:
    with pytest.raises(BadInput, match=r"page: no table nowhere"):
        render("page", "<!-- table:nowhere -->\n<!-- end -->", {})
