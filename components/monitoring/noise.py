"""Population stability index on counts, and how large it gets without any drift.

Rows of a log are not independent: a user's rows share tastes, an item's exposures share every count of that item.
Counting rows as if they were makes PSI's usual threshold give false alarms in small markets. So the score without
drift is measured: if nothing changed, an entity's rows of the two windows could be swapped. Swapping entities at random
many times gives the distribution of the score, whose upper quantile is the column's noise floor (our choice; a paired
permutation test with the entity as its unit).

Shapes: K entities, B bins, P draws.
"""

import numpy as np
from scipy.stats import rankdata

# How Evidently fills empty bins (evidently.legacy.calculations.stattests.utils.get_binned_data).
_FILL = 1e-4
_FILL_DIVISOR = 1e6
_MAX_EXACT_VALUES = 20


def psi(reference_PB: np.ndarray, current_PB: np.ndarray) -> np.ndarray:
    """PSI (P,) of bin counts (P, B), the same figure that Evidently's "psi" gives for one row of counts.

    Both windows must hold at least one value.
    """
    reference, current = _shares(reference_PB), _shares(current_PB)
    return np.asarray(((reference - current) * np.log(reference / current)).sum(axis=-1))


def bins(reference: np.ndarray, current: np.ndarray) -> np.ndarray:
    """Bin codes of two numeric samples without NaN, reference first, binned as Evidently does.

    More than 20 distinct reference values: equal widths over both samples, their number by Sturges' rule. Otherwise
    each distinct value is a bin.
    """
    both = np.concatenate([reference, current])
    if len(np.unique(reference)) > _MAX_EXACT_VALUES:
        edges = np.histogram_bin_edges(both, bins="sturges")
        return np.clip(np.searchsorted(edges, both, side="right") - 1, 0, len(edges) - 2)
    return np.unique(both, return_inverse=True)[1]


def entity_counts(codes: np.ndarray, entities: np.ndarray, num_entities: int, num_bins: int) -> np.ndarray:
    """Counts (K, B) of rows by entity and bin."""
    flat = np.bincount(entities * num_bins + codes, minlength=num_entities * num_bins)
    return flat.reshape(num_entities, num_bins).astype(np.float64)


def swaps(num_entities: int, draws: int, seed: int) -> np.ndarray:
    """(P, K) of 0 and 1: whose windows each draw swaps."""
    return np.random.default_rng(seed).integers(0, 2, size=(draws, num_entities)).astype(np.float64)


def swapped(reference_KB: np.ndarray, current_KB: np.ndarray, swaps_PK: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Counts (P, B) of both windows under each draw."""
    change_PB = swaps_PK @ (current_KB - reference_KB)
    return reference_KB.sum(0) + change_PB, current_KB.sum(0) - change_PB


def noise_floor(reference_KB: np.ndarray, current_KB: np.ndarray, swaps_PK: np.ndarray, quantile: float) -> float:
    """The quantile of PSI when entities' windows are swapped at random; draws that empty a window are left out."""
    reference_PB, current_PB = swapped(reference_KB, current_KB, swaps_PK)
    kept = (reference_PB.sum(1) > 0) & (current_PB.sum(1) > 0)
    return float(np.quantile(psi(reference_PB[kept], current_PB[kept]), quantile))


def swapped_auc(scores: np.ndarray, is_current: np.ndarray, entities: np.ndarray, swaps_PK: np.ndarray) -> np.ndarray:
    """AUC (P,) of n scores when entities' windows are swapped; NaN where a draw empties a window.

    A swap moves rows between the classes and leaves their ranks, so that each entity's sum of ranks is enough: this
    costs P K, not the P n of weighing every row (`contracts.tools.resampling`).
    """
    ranks = rankdata(scores)
    num_entities = swaps_PK.shape[1]
    reference_K2, current_K2 = (
        np.stack(
            [np.bincount(entities[part], weights, num_entities) for weights in (np.ones(part.sum()), ranks[part])], 1
        )
        for part in (~is_current, is_current)
    )
    reference_P2, current_P2 = swapped(reference_K2, current_K2, swaps_PK)
    rows = reference_P2[:, 0] * current_P2[:, 0]
    above = current_P2[:, 1] - current_P2[:, 0] * (current_P2[:, 0] + 1) / 2
    return np.asarray(np.divide(above, rows, out=np.full(len(rows), np.nan), where=rows > 0))


def _shares(counts_PB: np.ndarray) -> np.ndarray:
    counts = np.atleast_2d(counts_PB)
    shares = counts / counts.sum(axis=1, keepdims=True)
    smallest = np.where(shares > 0, shares, np.inf).min(axis=1, keepdims=True)
    fill = np.where(smallest <= _FILL, smallest / _FILL_DIVISOR, _FILL)
    return np.asarray(np.where(shares > 0, shares, fill))
