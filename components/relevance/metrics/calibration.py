"""Platt calibration and relevance thresholds, both from out-of-fold predictions."""

from collections.abc import Sequence

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_curve

# A market with fewer judged pairs of a class takes the threshold of all markets together.
_MIN_CLASS = 25


def fit_platt(logits: np.ndarray, label: np.ndarray) -> tuple[float, float]:
    """Slope and intercept that make sigmoid(slope * logit + intercept) a calibrated probability.

    Targets are Platt's (1999), (n + 1) / (n + 2) of the n positives and 1 / (m + 2) of the m negatives. Where judgments
    are few, logits may tell the classes apart without a fault; labels of 1 and 0 would then want an endless slope,
    under which all good titles are equally relevant. A slope that is not positive (logits without information) is
    replaced by 1, so that ranks survive.
    """
    positive_n = label == 1
    target_n = np.where(positive_n, (positive_n.sum() + 1) / (positive_n.sum() + 2), 1 / ((~positive_n).sum() + 2))
    # Each pair as a positive one and as a negative one, in the shares that its target says.
    classes, weights = np.repeat([1, 0], len(label)), np.concatenate([target_n, 1 - target_n])
    model = LogisticRegression(C=1e6).fit(np.tile(logits, 2)[:, None], classes, weights)
    slope, intercept = float(model.coef_[0, 0]), float(model.intercept_[0])
    return (slope, intercept) if slope > 0 else (1.0, 0.0)


def calibrate(logits: np.ndarray, platt: tuple[float, float]) -> np.ndarray:
    """Probabilities float64 (n,)."""
    slope, intercept = platt
    return np.asarray(1.0 / (1.0 + np.exp(-(slope * logits + intercept))))


def thresholds(
    market: np.ndarray, label: np.ndarray, relevance: np.ndarray, markets: Sequence[str]
) -> dict[str, float]:
    """theta per market: the relevance above which true positive rate minus false positive rate is largest (Youden)."""
    overall = _youden(label, relevance)
    found = {}
    for name in markets:
        rows = market == name
        positives = int(label[rows].sum())
        enough = min(positives, int(rows.sum()) - positives) >= _MIN_CLASS
        found[name] = _youden(label[rows], relevance[rows]) if enough else overall
    return found


def calibration_error(label: np.ndarray, relevance: np.ndarray, bins: int = 10) -> float:
    """Expected calibration error: mean |predicted - observed| over bins of equal size."""
    order = np.argsort(relevance, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    gaps = [abs(relevance[part].mean() - label[part].mean()) * len(part) for part in parts]
    return float(sum(gaps) / len(label))


def _youden(label: np.ndarray, relevance: np.ndarray) -> float:
    false_rate, true_rate, cut = roc_curve(label, relevance)
    # The first cut is infinite: it stands for "nothing is relevant".
    best = 1 + int(np.argmax((true_rate - false_rate)[1:]))
    return float(min(max(cut[best], 0.0), 1.0))
