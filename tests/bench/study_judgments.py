"""How many judgments the mixture needs: learning curves of what is released, beside the baselines, on real judgments.

    python -m tests.bench.study_judgments --judgments PATH [--work DIR]

PATH is an AnalytiCup query-category file or its folder. Queries are halved: judgments are drawn from one half, the
other, which nothing is fitted or chosen on, tests. For each draw the model is made that a run releases: the mixture out
of fold, the blend with the lexical expert that this wants, the mixture on all rows drawn. The baselines are fitted on
the same rows: TF-IDF, and the best single expert, which validation rows choose. Experts are the laptop profile's,
frozen: on two cores, encoding takes half an hour (the cache keeps it), the rest a quarter.
Writes tests/bench/results/judgments.json.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from components.contracts.tools.log import configure, get_logger
from components.contracts.tools.manifest import write_json
from components.contracts.tools.resampling import Bootstrap, auc, percentile_interval
from components.relevance.config import BEST_SINGLE, EXPERTS_ALONE, MIXTURE, TFIDF, RelevanceConfig
from components.relevance.encode import encode
from components.relevance.fitting.crossfit import fit_singles, fit_variant
from components.relevance.fitting.fit import predict
from components.relevance.fitting.lexical import fit_lexical, lexical_logits
from components.relevance.judgments.judged import Judged, load_judged, query_folds, training_rows
from components.relevance.model.routed import Routed
from components.relevance.model.spec import MixtureSpec, load_experts
from components.relevance.train import fit_released, mixture_spec
from tests.bench.measured import RESULTS, machine
from tests.bench.study_relevance import ingest

# Judgments -> how often so many are drawn.
DRAWS = {300: 6, 1_000: 4, 3_000: 4, 10_000: 1}
BASELINES = (TFIDF, BEST_SINGLE)
REPLICATES = 400
_logger = get_logger("archipelago.study")


def halves(data: Judged) -> tuple[np.ndarray, np.ndarray]:
    """Rows that judgments are drawn from, and rows that test."""
    half_n = query_folds(data.frame["query"], 2, seed=99)
    return np.flatnonzero(half_n == 0), np.flatnonzero(half_n == 1)


def out_of_fold(data: Judged, spec: MixtureSpec, config: RelevanceConfig) -> dict[str, np.ndarray]:
    """Logits (n,) that the mixture and TF-IDF have in `cross_fit`, without all else that it fits."""
    fold_n = query_folds(data.frame["query"], config.folds, config.seed)
    logits = {name: np.empty(len(data)) for name in (EXPERTS_ALONE, TFIDF)}
    for fold in range(config.folds):
        rows, valid = training_rows(data.frame["query"], config, fold)
        own = np.flatnonzero(fold_n == fold)
        network, _ = fit_variant(MIXTURE, data, spec, rows, valid, config, config.seed + fold, {})
        logits[EXPERTS_ALONE][own] = predict(network, data, own)
        logits[TFIDF][own] = lexical_logits(fit_lexical(data.frame, data.label.numpy(), rows, valid), data, own)
    return logits


def one_draw(
    data: Judged, test: Judged, spec: MixtureSpec, config: RelevanceConfig
) -> tuple[dict[str, np.ndarray], float | None]:
    """Logits of the test rows by each model fitted on the drawn ones, and the lexical expert's share."""
    released = fit_released(data, spec, config, out_of_fold(data, spec, config))
    mixture, every = released.mixture, np.arange(len(test))
    alone = predict(Routed(mixture.router, mixture.fusion), test, every)
    slope, lexical_slope, _ = mixture.fusion.calibration.tolist()
    label = data.label.numpy()
    rows, valid = training_rows(data.frame["query"], config, None)
    singles = fit_singles(data, spec, rows, valid, config, config.seed + config.folds)
    best = max(spec.experts, key=lambda name: auc(label[valid], predict(singles[name], data, valid)) or 0.0)
    found = {
        MIXTURE.name: slope * alone + lexical_slope * lexical_logits(mixture.lexical, test, every),
        EXPERTS_ALONE: alone,
        TFIDF: lexical_logits(fit_lexical(data.frame, label, rows, valid), test, every),
        BEST_SINGLE: predict(singles[best], test, every),
    }
    return found, released.lexical_share


def curve(data: Judged, spec: MixtureSpec, config: RelevanceConfig) -> dict[str, object]:
    """Judgments -> the figures of their draws."""
    pool, tested = halves(data)
    test = data.at(tested)
    label = test.label.numpy()
    bootstrap = Bootstrap.draw(pd.factorize(test.frame["query"])[0], REPLICATES, config.seed)
    sizes: dict[str, object] = {}
    for size, draws in DRAWS.items():
        logits: dict[str, list[np.ndarray]] = {}
        shares = []
        for draw in range(draws):
            rows = np.sort(np.random.default_rng(draw).permutation(pool)[:size])
            found, share = one_draw(data.at(rows), test, spec, config)
            shares.append(share)
            for name, logits_n in found.items():
                logits.setdefault(name, []).append(logits_n)
            _logger.info("%d judgments, draw %d: %s", size, draw, {n: auc(label, own) for n, own in found.items()})
        sizes[str(size)] = {"lexical_share": shares, **figures(label, logits, bootstrap)}
    return {"sizes": sizes, "tested": len(test)}


def figures(label: np.ndarray, logits: dict[str, list[np.ndarray]], bootstrap: Bootstrap) -> dict[str, object]:
    """AUC of every draw, and what the mixture gains over each other model on average.

    Intervals are over draws and test queries, both resampled, the same ones for all models.
    """
    own = {name: [auc(label, logits_n) or 0.0 for logits_n in each] for name, each in logits.items()}
    draws = len(own[MIXTURE.name])
    again_RS = np.random.default_rng(0).integers(draws, size=(REPLICATES, draws))

    def replicates(each: Sequence[np.ndarray]) -> np.ndarray:
        aucs_RS = np.stack([bootstrap.aucs(label, logits_n) for logits_n in each], axis=1)
        return np.asarray(np.take_along_axis(aucs_RS, again_RS, axis=1).mean(axis=1))

    mean_R = {name: replicates(each) for name, each in logits.items()}
    mixture = MIXTURE.name
    gains = {
        name: {
            "mixture_minus": float(np.mean(own[mixture]) - np.mean(own[name])),
            "interval": percentile_interval(mean_R[mixture] - mean_R[name]),
        }
        for name in logits
        if name != mixture
    }
    return {"auc": own, "gains": gains, "best_baseline": max(BASELINES, key=lambda name: float(np.mean(own[name])))}


def main() -> None:
    """Measure and keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--judgments", type=Path, required=True, help="a query-category file or its folder")
    parser.add_argument("--work", type=Path, help="keep log and encodings here; those that are there serve again")
    arguments = parser.parse_args()
    configure()
    config = RelevanceConfig(variants=(MIXTURE,))
    with tempfile.TemporaryDirectory() as scratch:
        work = arguments.work or Path(scratch)
        if not (work / "log").exists():
            ingest(arguments.judgments, work)
        if not (work / "encodings").exists():
            encode(work / "log", config, work / "encodings", work / "experts")
        specs = load_experts(work / "experts")
        data = load_judged(work / "log", work / "encodings", specs, config)
        found = curve(data, mixture_spec(data, specs, config), config)
    result = {
        "command": "python -m tests.bench.study_judgments --judgments PATH",
        "machine": machine(),
        "simulated": False,
        "threads": torch.get_num_threads(),
        **found,
    }
    write_json(RESULTS / "judgments.json", result)


if __name__ == "__main__":
    main()
