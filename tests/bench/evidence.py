"""The tables of tests/bench/README.md, one per question, from what was measured."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from components.ranking.config import RANKING_METRICS
from tests.bench.cells import NO_BREAK, Gain, table
from tests.bench.drift_evidence import drift_alarms, drift_changes, drift_incidents, drift_speed
from tests.bench.gpu_evidence import gpu_experts, gpu_mixture, gpu_precision, gpu_prefix, gpu_triton
from tests.bench.measured import Result, measured, source, sources
from tests.bench.scale_evidence import entire_space, joins, training_set
from tests.bench.serving_evidence import isolated, served, serving, soak

# Column -> its result. The first is the study that findings are taken from.
STUDIES = {
    "tuned, 9 layers": "study-analyticup-tuned-9",
    "tuned, 12 layers": "study-analyticup-tuned",
    "tuned, 12 layers, dense 16": "study-analyticup-tuned-16",
    "frozen": "study-analyticup",
    "frozen, with Qwen": "study-analyticup-qwen",
    "simulated, frozen": "study-simulated",
}
# What the mixture is compared with, by question.
DENSE_MODEL = "gemma3-270m-dense"
DENSE = (DENSE_MODEL, "tfidf")
EXPERTS = ("best_single", "gemma3-270m", "e5-small", "minilm-l6", "qwen2-1_5b")
ROUTERS = ("k=1", "k=3", "soft", "rule", "pseudo_label")
FUSIONS = ("weighted_average", "gated_sum", "logit_average")
VARIANTS = ("mixture", *DENSE, *EXPERTS, *ROUTERS, *FUSIONS)

TUNED, FROZEN = "tuned, 9 layers", "frozen"
MIXTURES = {"12 layers of Gemma": "gpu-mixture", "9 layers of Gemma": "gpu-mixture-9"}
PHASES = ("tuning", "encoding", "cross-validation")
STEPS = {"frozen": "fusion-frozen", "tuned, 12 layers": "fusion-tuned"}
# From concatenation over what lies between to the plain average.
HEADS = (
    "concatenation", "gated sum", "average, weights", "average, dropout", "average, linear",
    "average, weights and dropout", "average, all three", "average",
)  # fmt: skip


def gain_over(result: Result, variant: str) -> Gain | None:
    """Pooled AUC of the mixture over a variant; None where they were not compared."""
    delta = result["deltas"].get(variant)
    return Gain.of(delta["pooled"]["mixture_minus"], delta["pooled"]["interval"]) if delta else None


def by_study(
    corner: str, variants: Sequence[str], studies: Mapping[str, Result], cell: Callable[[Result, str], object]
) -> str:
    """A row per variant and a column per study, but for studies that ran none of the variants."""
    cells = {name: [cell(result, variant) for variant in variants] for name, result in studies.items()}
    cells = {name: column for name, column in cells.items() if any(column)}
    rows = zip(variants, *cells.values(), strict=True)
    shown = ([variant, *(str(one or "not run") for one in own)] for variant, *own in rows)
    return table([corner, *cells], shown)


def gains(variants: Sequence[str], studies: Mapping[str, Result]) -> str:
    """What the mixture gains over each variant."""
    return by_study("gain over", variants, studies, gain_over)


def figures(studies: Mapping[str, Result]) -> str:
    """Pooled AUC, and how many parameters run for a pair."""

    def cell(result: Result, variant: str) -> str | None:
        active = result["active_parameters"].get(variant)
        suffix = f"<br>{active / 1e6:.0f}{NO_BREAK}M" if active else ""
        return f"{result['relevance'][variant]['pooled']:.4f}{suffix}" if variant in result["relevance"] else None

    return by_study("pooled AUC, active parameters", VARIANTS, studies, cell)


def precisions(studies: Mapping[str, Result]) -> str:
    """Area under the precision-recall curve; NDCG beside it where queries have several items each."""

    def cell(result: Result, variant: str) -> str | None:
        if variant not in result["quality"]:
            return None
        found, judged = result["quality"][variant], result["judged"]
        several = judged["pairs"] >= 2 * judged["queries"]
        return f"{found['pr_auc']:.4f}" + (f" ({found['ndcg@10']:.4f})" if several else "")

    return by_study("PR-AUC (NDCG@10)", VARIANTS, studies, cell)


def studies_table(studies: Mapping[str, Result]) -> str:
    """What each study ran on, how long it took, and how to run it again."""
    rows = []
    for name, result in studies.items():
        phases, active = result["phases"], result["active_parameters"]
        rows.append(
            [
                name,
                f"{result['judged']['pairs']:,} of {result['judged']['queries']:,}",
                f"{len(result['seeds']['mixture'])}",
                f"{active['mixture'] / 1e6:.0f} / {active[DENSE_MODEL] / 1e6:.0f} M",
                "yes" if result["balance"]["released"]["collapsed"] else "no",
                " / ".join(f"{phases[phase]:,}" if phase in phases else "none" for phase in PHASES),
            ]
        )
    header = ["study", "pairs of queries", "seeds", "active parameters: mixture / dense", "collapse alarm, released"]
    header.append(f"seconds: {' / '.join(PHASES)}")
    return f"{table(header, rows)}\n\n{sources(studies)}"


def areas(result: Result) -> str:
    """AUC per variant: pooled with its interval, macro, and of each market or language."""
    columns = ["macro", *result["markets"]]
    rows = []
    for variant, aucs in result["relevance"].items():
        low, high = aucs["interval"]["pooled"]
        pooled = f"{aucs['pooled']:.3f}<br>{low:.3f} .. {high:.3f}".replace(" ", NO_BREAK)
        cells = ("none" if aucs.get(column) is None else f"{aucs[column]:.3f}" for column in columns)
        rows.append([variant, pooled, *cells])
    return f"{table(['variant', 'pooled', *columns], rows)}\n\n{source(result)}"


def spaces(tuned: Result, frozen: Result) -> str:
    """Shape of each space, and how alike the experts' are; tuned / frozen in one cell."""
    shapes = [result["spaces"]["spaces"] for result in (tuned, frozen)]
    digits = {"mean_cosine": 3, "top_share": 3, "effective_rank": 0, "isoscore": 3}
    rows = [
        [name, str(shapes[0][name]["width"])]
        + [" / ".join(f"{own[name][column]:.{places}f}" for own in shapes) for column, places in digits.items()]
        for name in shapes[0]
    ]
    header = ["space (tuned / frozen)", "width", *(column.replace("_", " ") for column in digits)]
    pairs = zip(tuned["spaces"]["pairs"], frozen["spaces"]["pairs"], strict=True)
    alike = [
        [f"{one['left']}, {one['right']}"] + [f"{one[key]:.3f} / {two[key]:.3f}" for key in ("cka", "procrustes")]
        for one, two in pairs
    ]
    two_experts = table(["two experts (tuned / frozen)", "CKA", "Procrustes error"], alike)
    return f"{table(header, rows)}\n\n{two_experts}"


def fusion_steps(studies: Mapping[str, Result]) -> str:
    """A row per head on the way from the average to concatenation: AUC, and what concatenation gains over it."""
    rows = []
    for name in HEADS:
        cells = []
        for result in studies.values():
            head = result["heads"][name]
            gain = Gain.of(head["concatenation_minus"], head["interval"])
            cells += [f"{head['pooled']:.4f}", str(gain) if gain.value else ""]  # none over itself
        rows.append([name, *cells])
    header = ["head"]
    for study in studies:
        header += [f"AUC, {study}", f"concatenation gains, {study}"]
    return f"{table(header, rows)}\n\n{sources(studies)}"


def ranking(result: Result) -> str:
    """Metrics per variant, each with its difference to the baseline; and agreement with the simulator's truth."""
    rows = []
    for variant, found in result["ranking"].items():
        cells = []
        for metric in RANKING_METRICS:
            value, *interval = found["difference"][metric]
            cells += [f"{found[metric]:.4f}", str(Gain.of(value, interval)) if any(interval) else ""]
        truth = (result["oracle"] or {}).get(variant)
        rows.append([variant, *cells, f"{truth['ndcg@10']:.4f}" if truth else "not measured"])
    header = ["variant"]
    for metric in RANKING_METRICS:
        header += [metric.upper(), "gain"]
    return f"{table([*header, 'NDCG@10 by the truth'], rows)}\n\n{source(result)}"


def volumes(result: Result) -> str:
    """A row per world and label rules: what there is relative to exposed candidates alone, and how far labels reach."""

    def ratios(steps: Mapping[str, Any], of: str) -> list[str]:
        cells = [steps["+ searchification"]["requests" + of]]
        cells += [steps[step]["rows" + of] for step in ("+ unexposed", "+ searchification")]
        cells += [steps[step]["clicks" + of] for step in ("+ attribution", "+ searchification")]
        return [f"{cell:.1f}" for cell in cells]

    rows = [["the paper, on its own log", "", *ratios(result["paper"], ""), *[""] * 4]]
    for world, by_rules in result["worlds"].items():
        for rules, made in by_rules.items():
            coverage, leak = made["coverage"]["all"]["share"], made["leak"]["pseudo"]["scored_auc"]
            told = [f"{made['relevance'][kind]:.3f}" for kind in ("pseudo", "native")]
            rows.append([world, rules, *ratios(made["steps"], "_ratio"), f"{coverage:.0%}", f"{leak:.3f}", *told])
    header = ["world", "label rules", "requests", "samples, + unexposed", "samples", "clicks, + attribution", "clicks"]
    header += ["coverage", "AUC of being scored", "AUC of relevance, pseudo", "AUC of relevance, native"]
    return f"{table(header, rows, texts=2)}\n\n{source(result)}"


def whole_run(result: Result) -> str:
    """What a run costs."""
    steps = sorted(result["stages"].items(), key=lambda step: -step[1])
    rows = [
        ["whole run, installation apart", f"{result['seconds'] / 60:.1f} min"],
        *([f"step {name}", f"{seconds:.0f} s"] for name, seconds in steps),
        ["peak memory, all processes", f"{result['peak_rss_mb'] / 1024:.1f} GiB"],
    ]
    return f"{table(['figure', 'value'], rows)}\n\n{source(result)}"


def speed(results: Mapping[str, Result]) -> str:
    """A row per measurement of `make bench` on a CPU: its figures, and the ratio to its baseline."""

    def words(values: Mapping[str, object]) -> str:
        shown = (value if isinstance(value, str) else format(value, ",.10g") for value in values.values())
        return ", ".join(f"{name.replace('_', ' ')}: {one}" for name, one in zip(values, shown, strict=True))

    rows = [
        [name, words(result["figure"]), words(result["baseline"]), f"{result['ratio']:.2f}"]
        for name, result in results.items()
    ]
    return f"{table(['measurement', 'figures', 'baseline', 'ratio'], rows, texts=3)}\n\n{sources(results)}"


def retrieval(result: Result) -> str:
    """Recall per kind of query and way of indexing: of the simulated log, then of each set of real titles."""
    found = {f"simulated log, {market}": recall for market, recall in result["log"].items()}
    for name, own in result["titles"].items():
        kinds = own["recall"].items()
        found |= {f"{name} ({own['titles']:,} titles), {kind}": recall for kind, recall in kinds}
    ways = ("words and trigrams", "exact field", "exact and folded")
    rows = [[what, *(f"{recall[way]:.3f}" for way in ways)] for what, recall in found.items()]
    return f"{table(['queries', *ways], rows)}\n\n`{result['command']}` on {result['machine']}."


def learning_curves(result: Result) -> str:
    """AUC by judgments, means over draws; what the mixture gains over the better baseline, and over its experts."""
    names = ("mixture", "experts_alone", "tfidf", "best_single")
    header = ["judgments (draws)", *names, "gain over the better baseline", "gain over experts_alone", "lexical share"]
    rows = []
    for size, own in sorted(result["sizes"].items(), key=lambda entry: int(entry[0])):
        means = [sum(own["auc"][name]) / len(own["auc"][name]) for name in names]
        deltas = [own["gains"][name] for name in (own["best_baseline"], "experts_alone")]
        gained = [str(Gain.of(delta["mixture_minus"], delta["interval"])) for delta in deltas]
        share = sum(own["lexical_share"]) / len(own["lexical_share"])
        label = f"{int(size):,} ({len(own['lexical_share'])})"
        rows.append([label, *(f"{mean:.4f}" for mean in means), *gained, f"{share:.0%}"])
    return f"{table(header, rows)}\n\nTested on {result['tested']:,} pairs. {source(result)}"


def page_tables() -> dict[str, str]:
    """Every table of tests/bench/README.md, by the name of its place."""
    studies = {name: measured(file) for name, file in STUDIES.items()}
    run = measured("run-laptop")
    return {
        "studies": studies_table(studies),
        "gains-dense": gains(DENSE, studies),
        "gains-experts": gains(EXPERTS, studies),
        "gains-routers": gains(ROUTERS, studies),
        "gains-fusions": gains(FUSIONS, studies),
        "figures": figures(studies),
        "precisions": precisions(studies),
        "languages": areas(studies[TUNED]),
        "markets": areas(run),
        "gains-run": gains(list(run["deltas"]), {"pooled AUC, this run": run}),
        "spaces": spaces(studies[TUNED], studies[FROZEN]),
        "fusion-steps": fusion_steps({name: measured(file) for name, file in STEPS.items()}),
        "gpu-experts": gpu_experts(measured("gpu-experts")),
        "gpu-precision": gpu_precision(measured("gpu-precision")),
        "gpu-prefix": gpu_prefix(measured("gpu-prefix")),
        "gpu-triton": gpu_triton(measured("gpu-triton")),
        "gpu-mixture": gpu_mixture({name: measured(file) for name, file in MIXTURES.items()}),
        "ranking": ranking(run),
        "served": served(run),
        "volumes": volumes(measured("volumes")),
        "whole-run": whole_run(run),
        "entire-space": entire_space(measured("entire-space")),
        "joins": joins(measured("entire-space")),
        "training-set": training_set(measured("training-set")),
        "soak": soak(measured("soak")),
        "drift-alarms": drift_alarms(measured("drift")),
        "drift-changes": drift_changes(measured("drift")),
        "drift-incidents": drift_incidents(measured("drift")),
        "drift-speed": drift_speed(measured("drift-speed")),
        "serving": serving(measured("serving")),
        "isolated": isolated(measured("serving")),
        "learning-curves": learning_curves(measured("judgments")),
        "retrieval": retrieval(measured("retrieval")),
        "speed": speed({name: measured(name) for name in ("scoring", "simulator", "simulator-entire-space", "load")}),
    }
