"""What the fitted variants are worth: native test exposures first, the simulator's ground truth apart.

A variant's scores are probabilities of a click, float32 (N,), NaN in rows that were not scored.

Shape suffixes: N rows of the training set, T test rows that are evaluated, M those of one market, G requests.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sklearn.metrics import roc_auc_score

from components.contracts.markets import DOMAIN_CODES
from components.contracts.schemas import ORACLE
from components.contracts.tables import read_table
from components.ranking.dataset import TrainingSet
from components.ranking.evaluation import compact, expected_auc, request_agreement, request_auc, request_ndcg
from components.ranking.intervals import RankingBootstrap, ratio_interval, with_intervals

ORACLE_FILE = "oracle.parquet"
CALIBRATION_BINS = 10


def native_metrics(
    data: TrainingSet, variants: Mapping[str, np.ndarray], baseline: str, replicates: int, seed: int
) -> dict[str, dict[str, Any]]:
    """Variant -> metrics on native search exposures of the test part with native clicks (the paper's protocol).

    Each holds auc, gauc, hr@5, ndcg@10, their intervals, differences to `baseline` and `calibration`, the ratio of
    predicted to actual click rate.
    """
    rows_T = data.rows("test", "exposed")
    click_T = data.native[rows_T, 0]
    bootstrap = RankingBootstrap(data.request[rows_T], click_T, replicates, seed)
    metrics = with_intervals(
        {name: bootstrap.evaluate(score_N[rows_T]) for name, score_N in variants.items()}, baseline
    )
    for name, score_N in variants.items():
        metrics[name]["calibration"] = round(float(score_N[rows_T].mean() / click_T.mean()), 4)
    return metrics


def market_metrics(
    data: TrainingSet, score_N: np.ndarray, markets: tuple[str, ...], replicates: int, seed: int
) -> dict[str, dict[str, Any]]:
    """Figures of one variant in each market, on the test part; None where there is none.

    Market -> exposures, requests, clicks, auc, gauc, calibration (predicted over actual click rate), and
    calibration_interval: [low, high] at 95 %, from resampling requests.
    """
    rows_T = data.rows("test", "exposed")
    result = {}
    for market in markets:
        own_M = rows_T[data.market[rows_T] == market]
        click_M, score_M = data.native[own_M, 0], score_N[own_M]
        request_M = compact(data.request[own_M])
        clicks = int(click_M.sum())
        both = 0 < clicks < len(own_M)
        grouped = float(request_auc(request_M, click_M, score_M).mean()) if both else np.nan
        result[market] = {
            "exposures": len(own_M),
            "requests": len(np.unique(request_M)),
            "clicks": clicks,
            "auc": float(roc_auc_score(click_M, score_M)) if both else None,
            "gauc": grouped if np.isfinite(grouped) else None,
            "calibration": float(score_M.mean() / click_M.mean()) if clicks else None,
            "calibration_interval": ratio_interval(request_M, score_M, click_M, replicates, seed) if clicks else None,
        }
    return result


def calibration_curve(data: TrainingSet, score_N: np.ndarray) -> list[dict[str, float]]:
    """Mean predicted probability and click rate in ten equal parts of the test exposures, by predicted probability."""
    rows_T = data.rows("test", "exposed")
    score_T, click_T = score_N[rows_T], data.native[rows_T, 0]
    parts = np.array_split(np.argsort(score_T, kind="stable"), min(CALIBRATION_BINS, len(rows_T)))
    return [{"predicted": float(score_T[p].mean()), "actual": float(click_T[p].mean()), "rows": len(p)} for p in parts]


def oracle_metrics(data: TrainingSet, log: Path, variants: Mapping[str, np.ndarray]) -> dict[str, Any] | None:
    """Agreement with the simulator's ground-truth utility; None where the log has none (a real log never has).

    Over every search row of the test part whose features were joined, exposed or not. `agreement` is the share of a
    request's pairs in the utilities' order (chance 0.5), `ndcg@10` takes as gain the rank of the utility within its
    request, scaled to 0..1. `exposed_agreement` is the first over natively exposed rows only, and `expected_auc` what
    their native AUC is expected to be when their clicks are drawn again.
    """
    path = log / ORACLE_FILE
    if not path.is_file():
        return None
    rows_T = np.flatnonzero((data.split == "test") & (data.domain == DOMAIN_CODES["search"]))
    utility_T, chance_T = _truth(data, rows_T, path)
    known_T = np.isfinite(utility_T)
    rows_T, utility_T, chance_T = rows_T[known_T], utility_T[known_T], chance_T[known_T]
    if len(rows_T) == 0:
        return None
    request_T = compact(data.request[rows_T])
    shown_T = data.exposed[rows_T]
    shown_request_T = compact(data.request[rows_T][shown_T])
    gain_T = _rank_within(request_T, utility_T)
    result: dict[str, Any] = {"simulated_only": True, "rows": len(rows_T), "exposed_rows": int(shown_T.sum())}
    for name, score_N in variants.items():
        score_T = score_N[rows_T]
        shown = request_agreement(shown_request_T, utility_T[shown_T], score_T[shown_T])
        figures: dict[str, Any] = {
            "agreement": request_agreement(request_T, utility_T, score_T).mean(),
            "ndcg@10": request_ndcg(request_T, gain_T, score_T, 10).mean(),
            "exposed_agreement": shown.mean(),
            "expected_auc": expected_auc(chance_T[shown_T], score_T[shown_T]),
        }
        result[name] = {key: round(float(value), 6) if np.isfinite(value) else None for key, value in figures.items()}
    return result


def _truth(data: TrainingSet, rows_T: np.ndarray, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """True utility and chance of a click of each row (T,), NaN where the simulator tells none."""
    wanted = data.table.take(pa.array(rows_T)).select(["request_id", "item_id"])
    wanted = wanted.append_column("row", pa.array(np.arange(len(rows_T))))
    truth = read_table(path, ORACLE).select(["request_id", "item_id", "utility", "click_chance"])
    joined = wanted.join(truth, ["request_id", "item_id"]).sort_by("row")
    utility_T, chance_T = (
        np.asarray(pc.fill_null(joined[name], np.nan).to_numpy(), dtype=np.float64)
        for name in ("utility", "click_chance")
    )
    return utility_T, chance_T


def _rank_within(request_T: np.ndarray, value_T: np.ndarray) -> np.ndarray:
    """Rank of each value in its request, 0 (least) .. 1 (most)."""
    size_G = np.bincount(request_T)
    order = np.lexsort((value_T, request_T))
    rank_T = np.empty(len(order))
    rank_T[order] = np.arange(len(order)) - np.repeat(np.cumsum(size_G) - size_G, size_G)
    return np.asarray(rank_T / np.maximum(size_G[request_T] - 1, 1))
