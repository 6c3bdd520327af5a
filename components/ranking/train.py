"""The ranking stage: fits the variants, judges them, blends and saves the released one."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from components.contracts.blend import Blend
from components.contracts.markets import DOMAIN_CODES
from components.contracts.tables import write_table
from components.contracts.tools.cells import spell
from components.contracts.tools.device import compute_device
from components.contracts.tools.log import get_logger
from components.contracts.tools.manifest import input_digest, read_manifest, stage_directory, write_manifest
from components.contracts.training.config import ONE_PROCESS, TrainingConfig
from components.ranking.assessment import calibration_curve, market_metrics, native_metrics, oracle_metrics
from components.ranking.blend import fill_relevance, fit_blend, relevance_prior
from components.ranking.config import RankingConfig
from components.ranking.dataset import TrainingSet, read_training_set
from components.ranking.evaluation import roc_points
from components.ranking.fitting import DeviceFeatures, Fitted, predict
from components.ranking.job import fitted_variants
from components.ranking.leak import measure_leak, on_exposed_rows
from components.ranking.model.serving import save_ranker
from components.ranking.report import Findings, write_ranking_report

_logger = get_logger(__name__)
_ROC_POINTS = 100
BLEND, PREDICTIONS, REPORT = "blend.json", "predictions.parquet", "reports/ranking.html"


def train(
    training_set: Path, log: Path, config: RankingConfig, out: Path, training: TrainingConfig = ONE_PROCESS
) -> None:
    """Train every variant and write the released one into `out`, as a whole or not at all.

    Where pseudo rows give their labels away (leak.py), rankers on ES3 rows are not trained: the released one is then
    that on exposed rows, and the log, the report and the manifest say why.

    `out` holds ranker.safetensors, ranker.json, blend.json, predictions.parquet (the released ranker on the native
    search exposures of all parts), reports/ranking.html and the manifest with all metrics. The same code runs on a CPU
    and on a GPU.

    Two runs on one machine's CPU, with the same inputs, configuration, packages and number of threads, fit the same
    weights to the bit. Anything else adds numbers in another order, and training makes the difference grow: two
    machines gave `hhsft_es3` a test AUC of 0.7530 and of 0.7540.

    Raises:
        BadInput: the training set breaks its contract, or a split has no click to learn from or judge by.
        TrainingFailed: one of several processes ended with an error.
    """
    described = read_manifest(log)
    markets, simulated = tuple(described["markets"]), bool(described.get("simulated", False))
    data = read_training_set(training_set, markets)
    asked, leak = config, measure_leak(data, config)
    told = (spell(value) for value in (leak.scored, leak.relevance, leak.native))
    _logger.info("AUC on pseudo rows: being scored %s, relevance %s (natively shown rows: %s)", *told)
    if leak.reasons:
        config = on_exposed_rows(config)
        _logger.warning("no ranker on ES3 rows, %s instead: %s", config.released, "; ".join(leak.reasons))
    with stage_directory(out) as root, fitted_variants(training_set, data, markets, config, training) as fitted:
        device = compute_device(config.device)
        features = DeviceFeatures.put(data, device)
        for fit in fitted.values():
            fit.ranker.to(device)
        searched = data.domain == DOMAIN_CODES["search"]
        judged = np.flatnonzero(data.exposed | (searched & (data.split != "train")))
        probabilities = {name: _spread(predict(f.ranker, features, judged), judged, data) for name, f in fitted.items()}
        blend = _fit_blend(data, probabilities[config.released], markets)
        blended = _blended(blend, data, probabilities[config.released])
        scored = {name: p[:, 0] for name, p in probabilities.items()} | {f"{config.released}+blend": blended}

        findings = Findings(
            ranking=native_metrics(data, scored, config.baseline, config.bootstrap, config.seed),
            oracle=oracle_metrics(data, log, scored) if simulated else None,
            markets=market_metrics(data, scored[config.released], markets, config.bootstrap, config.seed),
            calibration={name: calibration_curve(data, score) for name, score in scored.items()},
            curves={name: f.curve for name, f in fitted.items()},
            blend=blend,
            leak=leak,
        )
        save_ranker(fitted[config.released].ranker, root)
        blend.save(root / BLEND)
        write_table(_predictions(data, probabilities[config.released], blended), root / PREDICTIONS)
        write_ranking_report(root / REPORT, findings, data, scored, config, simulated)
        write_manifest(
            root,
            kind="ranker",
            config=asked.model_dump(mode="json"),
            inputs={"training_set": input_digest(training_set), "log": input_digest(log)},
            metrics={
                "ranking": findings.ranking,
                "oracle": findings.oracle,
                "markets": findings.markets,
                "released": config.released,
                "baseline": config.baseline,
                "leak": vars(leak) | {"reasons": list(leak.reasons)},
                "roc": _roc(data, scored[config.released]),
                "fits": {name: _facts(f, data, name) for name, f in fitted.items()},
            },
            packages=["torch", "scipy"],
            simulated=simulated,
            markets=list(markets),
        )


def _spread(values: np.ndarray, rows: np.ndarray, data: TrainingSet) -> np.ndarray:
    """(N, 2) with NaN in the rows that were not scored."""
    whole = np.full((len(data.request), values.shape[1]), np.nan, dtype=np.float32)
    whole[rows] = values
    return whole


def _fit_blend(data: TrainingSet, probabilities: np.ndarray, markets: tuple[str, ...]) -> Blend:
    candidates = (data.split == "train") & (data.domain == DOMAIN_CODES["search"])
    prior = relevance_prior(data.relevance[candidates], data.market[candidates], markets)
    rows = data.rows("valid", "exposed")
    relevance = fill_relevance(data.relevance[rows], data.market[rows], prior)
    return fit_blend(relevance, probabilities[rows, 0], probabilities[rows, 1], data.native[rows, 0], prior)


def _blended(blend: Blend, data: TrainingSet, probabilities: np.ndarray) -> np.ndarray:
    relevance = fill_relevance(data.relevance, data.market, blend.relevance_prior)
    return blend.score(relevance, probabilities[:, 0], probabilities[:, 1])


def _predictions(data: TrainingSet, probabilities: np.ndarray, score: np.ndarray) -> pa.Table:
    rows = np.flatnonzero(data.exposed)
    table = data.table.select(["request_id", "item_id", "market", "timestamp", "split"]).take(pa.array(rows))
    for name, values in (
        ("p_click", probabilities[rows, 0]),
        ("p_purchase", probabilities[rows, 1]),
        ("score", score[rows]),
        ("native_click", data.native[rows, 0].astype(np.int8)),
    ):
        table = table.append_column(name, pa.array(values))
    return table


def _roc(data: TrainingSet, score: np.ndarray) -> dict[str, list[float]]:
    rows = data.rows("test", "exposed")
    false_rate, true_rate, thresholds = roc_points(data.native[rows, 0], score[rows], _ROC_POINTS)
    return {"fpr": false_rate, "tpr": true_rate, "threshold": thresholds}


def _facts(fitted: Fitted, data: TrainingSet, variant: str) -> dict[str, Any]:
    parameters = [p.numel() for p in fitted.ranker.parameters()]
    embeddings = sum(p.numel() for p in fitted.ranker.encoder.tables.parameters())
    kind = variant.partition("_")[2]
    return {
        "rows": len(data.rows("train", kind)),  # type: ignore[arg-type]
        "epochs": len(fitted.curve),
        "best_epoch": fitted.best_epoch,
        "seconds": round(fitted.seconds, 2),
        "processes": fitted.processes,
        "parameters": sum(parameters),
        "parameters_without_embeddings": sum(parameters) - embeddings,
    }
