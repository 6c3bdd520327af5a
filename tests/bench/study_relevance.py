"""Every way of routing and fusing, on real judgments: what the mixture gains, and over what.

    python -m tests.bench.study_relevance --judgments PATH --name NAME [--work DIR] [--seeds 3]
    python -m tests.bench.study_relevance --log DIR --name NAME --work WORK --tuned --encode-only --tune-workers 8
    python -m tests.bench.study_relevance --log DIR --name NAME --work WORK --tuned --fit-processes 8

PATH is an AnalytiCup query-category file or its folder; DIR is a log that was made of one before. Experts are the
laptop profile's, frozen. With --tuned they are deeper, and tuned on the judgments once outside each fold. The dense
baseline is the whole of Gemma-3-270M, or its first --dense-layers; it has at least as many active parameters as the two
experts a query is routed to, unless --qwen adds a larger expert: then experts are compared, not costs. On two cores,
encoding frozen experts takes three quarters of an hour; the cache keeps it. Tuning wants a GPU, cross-validation many
cores: WORK may go from one machine to another in between.
Writes tests/bench/results/study-NAME.json; the full report is WORK/model/reports/relevance.html.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors import safe_open
from torch.nn import functional

from components.contracts.tools.log import configure, get_logger
from components.contracts.tools.manifest import read_json, read_manifest, write_json
from components.contracts.training.config import ONE_PROCESS
from components.relevance.config import (
    E5_SMALL,
    E5_TEXTS,
    GEMMA3_270M,
    MINILM_L6,
    MIXTURE,
    WEIGHTED_AVERAGE,
    ExpertConfig,
    RelevanceConfig,
    VariantConfig,
)
from components.relevance.encode import encode, judged_pairs
from components.relevance.encoding.texts import normal_pairs
from components.relevance.experts.weights import expert_spec
from components.relevance.judgments.judged import fold_vectors, judged_labels, query_folds
from components.relevance.metrics.auc import MarketAucs, market_aucs
from components.relevance.model.spec import TuningSpec
from components.relevance.train import train
from components.relevance.tuning.folds import tune
from components.relevance.tuning.job import CHECKPOINT, HISTORY_FILE
from components.relevance.workers import worker_pool
from tests.bench.measured import RESULTS, machine

DENSE = GEMMA3_270M.model_copy(update={"name": "gemma3-270m-dense", "layer": None})
FROZEN = (GEMMA3_270M, E5_SMALL, MINILM_L6)
# A decoder several times as large as the others, and as the dense baseline: --qwen says where its weights are.
QWEN = GEMMA3_270M.model_copy(update={"name": "qwen2-1_5b", "layer": 8})
# Tuning makes use of deeper layers than frozen models' vectors are best taken from.
TUNED_LAYERS = {E5_SMALL.name: 12, MINILM_L6.name: 6}
VARIANTS = (
    MIXTURE,
    WEIGHTED_AVERAGE,
    VariantConfig(name="gated_sum", fusion="gated_sum"),
    VariantConfig(name="logit_average", fusion="logit_average"),
    VariantConfig(name="rule", router="rule"),
    VariantConfig(name="pseudo_label", router="pseudo_label"),
    VariantConfig(name="soft", router="soft"),
    VariantConfig(name="k=1", top_k=1),
    VariantConfig(name="k=3", top_k=3),
)
# Chosen by validation losses: of a first try with three passes at one rate, and of fold 0 at several. Tunings are
# short: one that is interrupted goes on from its last whole epoch.
_DECODER = TuningSpec(epochs=2, learning_rate=2e-4, checkpoint_steps=100_000)
_ENCODER = TuningSpec(epochs=2, learning_rate=8e-4, batch_rows=128, checkpoint_steps=100_000)
TUNINGS = {GEMMA3_270M.name: _DECODER, DENSE.name: _DECODER, E5_SMALL.name: _ENCODER, MINILM_L6.name: _ENCODER}
# What tuning and encoding found, beside what they made.
ENCODED = "encoded.json"
_logger = get_logger("archipelago.study")


def study_config(arguments: argparse.Namespace) -> RelevanceConfig:
    """Experts, variants and processes that the command line asks for."""

    def source(package: str) -> str:
        return str(arguments.weights / package.removeprefix("package:")) if arguments.weights else package

    def expert(frozen: ExpertConfig) -> ExpertConfig:
        changes: dict[str, object] = {"source": source(frozen.source)}
        if arguments.tuned:
            layers = TUNED_LAYERS | {GEMMA3_270M.name: arguments.gemma_layers}
            changes |= {"layer": layers.get(frozen.name, frozen.layer), "tuning": TUNINGS[frozen.name]}
        return frozen.model_copy(update=changes)

    qwen = (QWEN.model_copy(update={"source": str(arguments.qwen)}),) if arguments.qwen else ()
    return RelevanceConfig(
        experts=(*(expert(frozen) for frozen in FROZEN), *qwen),
        dense=expert(DENSE.model_copy(update={"layer": arguments.dense_layers})),
        texts=E5_TEXTS.model_copy(update={"source": source(E5_TEXTS.source)}),
        variants=tuple(variant for variant in VARIANTS if variant.name in arguments.variants),
        folds=arguments.folds,
        seeds=arguments.seeds,
        bootstrap=arguments.bootstrap,
        encode_tokens=arguments.encode_tokens,
        precision=arguments.precision,
        fusion_hidden=tuple(arguments.hidden),
        load_balance=arguments.load_balance,
        fit_processes=arguments.fit_processes,
        lexical=False,  # experts are compared, and ways of routing and fusing them
    )


def measure(arguments: argparse.Namespace, by: str, work: Path) -> dict[str, object]:
    """Ingest, tune, encode, cross-validate; the figures of the model's manifest, and what each phase took."""
    log = arguments.log or work / "log"
    config = study_config(arguments)
    if arguments.judgments and not log.exists():
        ingest(arguments.judgments, work)
    if not (work / "encodings").exists():
        write_json(work / ENCODED, {"encoded_by": by, **encoded(log, config, arguments, work)})
    if arguments.encode_only:
        return {}
    before = read_json(work / ENCODED)
    seconds: dict[str, float] = {}
    with timed("cross-validation", seconds):
        train(log, work / "encodings", work / "experts", config, work / "model")
    manifest = read_manifest(work / "model")
    kept = [
        *("relevance", "deltas", "quality", "seeds", "balance", "active_parameters", "head_parameters", "spaces"),
        *("routing", "judged"),
    ]
    return {
        "machine": used_machine(),
        "simulated": manifest["simulated"],
        "phases": before.pop("phases") | {"cross-validation": round(seconds["cross-validation"])},
        "markets": read_manifest(log)["markets"],
        **{key: manifest["metrics"][key] for key in kept},
        **before,
    }


def encoded(log: Path, config: RelevanceConfig, arguments: argparse.Namespace, work: Path) -> dict[str, object]:
    """Write WORK/encodings and WORK/experts; the machine that did it, seconds a phase, and how tuning went."""
    seconds: dict[str, float] = {}
    found: dict[str, object] = {}
    if arguments.tuned:
        with timed("tuning", seconds):
            tuned = tune_all(log, config, arguments.tune_workers)
        found["tuning"] = {name: histories(folders) for name, folders in tuned.items()}
    with timed("encoding", seconds):
        encode(log, config, work / "encodings", work / "experts")
    if arguments.tuned:
        found["tuned_heads"] = tuned_heads(log, work / "encodings", config, tuned)
    phases = {name: round(took) for name, took in seconds.items()}
    return {"encoded_on": used_machine(), "phases": phases, **found}


def used_machine() -> str:
    """This machine, and its GPU where it has one."""
    return machine() + (f", {torch.cuda.get_device_name(0)}" if torch.cuda.is_available() else "")


def ingest(judgments: Path, work: Path) -> None:
    """Make WORK/log of the judgments; what reads marketplaces is imported for this alone."""
    from components.marketplace.logs.layouts.analyticup import ingest_analyticup
    from components.marketplace.logs.load import load_judgments
    from pipelines.profile import load_profile

    ingest_analyticup(judgments, work / "judgments")
    profile = load_profile(str(work / "judgments" / "profile.yaml"))
    load_judgments(work / "judgments", profile.markets, work / "log")


def tune_all(log: Path, config: RelevanceConfig, workers: int) -> dict[str, list[Path]]:
    """Tune every expert outside each fold, and but the dense baseline on all pairs, some at a time; the folders by
    expert, all pairs' last.

    `encode` finds them in the cache. A step of one expert leaves most of a GPU idle: several at a time fill it.
    """
    experts = [expert for expert in (*config.experts, config.dense) if expert and expert.tuning]
    # Weights are prepared here, once, before any worker asks for them.
    size = {expert.name: expert_spec(expert).parameters for expert in experts}
    jobs = [(expert, fold) for expert in experts for fold in range(config.folds)]
    jobs += [(expert, None) for expert in experts if expert is not config.dense]
    with worker_pool(workers, _start_tuning, workers) as pool:
        longest_first = sorted(jobs, key=lambda job: (-size[job[0].name], job[1] is not None))
        running = {(expert.name, fold): pool.submit(_tune, log, config, expert, fold) for expert, fold in longest_first}
        folders: dict[str, list[Path]] = {expert.name: [] for expert in experts}
        for expert, fold in jobs:
            folders[expert.name].append(running[expert.name, fold].result())
    return folders


def _start_tuning(workers: int) -> None:
    configure()
    if torch.cuda.is_available():
        # What a process keeps for reuse, others cannot have: it gives it up before it passes its share.
        torch.cuda.set_per_process_memory_fraction(0.9 / workers)


def _tune(log: Path, config: RelevanceConfig, expert: ExpertConfig, fold: int | None) -> Path:
    judged = _judged(log, config)
    pairs = normal_pairs(judged["market"], judged["query"], judged["title"])
    started = time.perf_counter()
    folder, spec = tune(expert, judged, pairs, config, fold, ONE_PROCESS)
    _logger.info("tuned %s, fold %s, in %.0f s", spec.name, fold, time.perf_counter() - started)
    return folder


@cache
def _judged(log: Path, config: RelevanceConfig) -> pd.DataFrame:
    """Read once a worker."""
    return judged_pairs(log, config)


def histories(folders: list[Path]) -> list[dict[str, object]]:
    """Losses an epoch of each tuning, in the folders' order."""
    return [read_json(folder / HISTORY_FILE)["history"] for folder in folders]


def tuned_heads(
    log: Path, encodings: Path, config: RelevanceConfig, tuned: dict[str, list[Path]]
) -> dict[str, MarketAucs]:
    """Out-of-fold AUC of each tuned expert with the head that it was tuned with."""
    judged = judged_labels(log, config)
    market, label = judged["market"].to_numpy(), judged["label"].to_numpy()
    fold_n = query_folds(judged["query"], config.folds, config.seed)
    found = {}
    for name, folders in tuned.items():
        logits_n = np.empty(len(judged))
        for fold in range(config.folds):
            vectors_BD = torch.from_numpy(np.load(fold_vectors(encodings, name, fold))[fold_n == fold])
            with safe_open(folders[fold].parent / CHECKPOINT, framework="pt") as checkpoint:
                weight_1D, bias_1 = (checkpoint.get_tensor(f"best/head.{part}") for part in ("weight", "bias"))
            normed_BD = functional.layer_norm(vectors_BD, vectors_BD.shape[1:])
            logits_n[fold_n == fold] = functional.linear(normed_BD, weight_1D, bias_1).squeeze(-1).numpy()
        found[name] = market_aucs(market, label, logits_n, read_manifest(log)["markets"])
    return found


@contextmanager
def timed(phase: str, seconds: dict[str, float]) -> Iterator[None]:
    """Note and log what a phase took."""
    started = time.perf_counter()
    yield
    seconds[phase] = time.perf_counter() - started
    _logger.info("%s took %.0f s", phase, seconds[phase])


def command(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> str:
    """The command line, without defaults and the paths of this machine."""
    words = ["python -m tests.bench.study_relevance"]
    for name, value in vars(arguments).items():
        if name != "work" and value != parser.get_default(name):
            words.append("--" + name.replace("_", "-"))
            values = value if isinstance(value, list) else [] if value is True else [value]
            words += ["PATH" if isinstance(word, Path) else str(word) for word in values]
    return " ".join(words)


def main() -> None:
    """Measure, keep and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--judgments", type=Path, help="a query-category file or its folder")
    source.add_argument("--log", type=Path, help="a log that was ingested before")
    parser.add_argument("--name", required=True, help="what the result is called")
    parser.add_argument(
        "--work", type=Path, help="keep log, encodings and model here; log and encodings that are there serve again"
    )
    parser.add_argument("--weights", type=Path, help="folder of the experts' own folders, instead of the packages")
    parser.add_argument(
        "--qwen", type=Path, help="folder of Qwen2.5-1.5B's weights: its first 8 layers, frozen, are a fourth expert"
    )
    parser.add_argument(
        "--encode-only", action="store_true", help="stop once WORK/encodings is written, for another machine"
    )
    names = [variant.name for variant in VARIANTS]
    parser.add_argument(
        "--variants",
        nargs="+",
        default=names,
        choices=names,
        metavar="NAME",
        help=f"that are compared, of {', '.join(names)} [default: all]",
    )
    parser.add_argument("--bootstrap", type=int, default=1000, help="resamples of queries for intervals")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--encode-tokens", type=int, default=1024, help="padded tokens a batch while encoding")
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16", "float8"), help="of encoding")
    parser.add_argument("--hidden", type=int, nargs=2, default=(128, 32), help="widths of the fusion head")
    parser.add_argument("--load-balance", type=float, default=0.001, help="weight of the router's load-balance loss")
    parser.add_argument("--fit-processes", type=int, default=1, help="processes that share the cross-validation")
    parser.add_argument("--tuned", action="store_true", help="tune the experts and the dense baseline")
    parser.add_argument("--gemma-layers", type=int, default=12, help="of Gemma where it is tuned")
    parser.add_argument("--dense-layers", type=int, help="of Gemma as the dense baseline [default: all 18]")
    parser.add_argument("--tune-workers", type=int, default=1, help="tunings at a time")
    arguments = parser.parse_args()
    if arguments.encode_only and not arguments.work:
        parser.error("--encode-only needs --work, where the encodings are kept")
    configure()
    with tempfile.TemporaryDirectory() as folder:
        by = command(parser, arguments)
        result = {"command": by, **measure(arguments, by, arguments.work or Path(folder))}
    if arguments.encode_only:
        return
    write_json(RESULTS / f"study-{arguments.name}.json", result)
    shown = ("deltas", "quality", "active_parameters", "tuned_heads", "phases")
    print(json.dumps({name: result[name] for name in shown if name in result}, indent=2))


if __name__ == "__main__":
    main()
