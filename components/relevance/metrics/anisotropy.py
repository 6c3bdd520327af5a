"""How a space of vectors is filled, and how alike two spaces are.

"Averaging raises anisotropy" is no theorem (rank(average) <= d < sum d_i is): these figures measure it.

Shape suffixes: n rows, D and E widths of spaces, S singular values.
"""

from dataclasses import asdict, dataclass

import numpy as np

_ROWS = 2000  # more rows change the figures in the third digit and cost minutes


@dataclass(frozen=True)
class Anisotropy:
    """Figures of one space.

    Attributes:
        width: D.
        mean_cosine: mean cosine of two different vectors; 0 where directions are spread evenly.
        top_share: share of the centred variance along the first principal direction.
        effective_rank: exp of the entropy of the singular values' shares (Roy and Vetterli, 2007).
        isoscore: 1 where every direction has the same variance, 0 where one has all (Rudman et al., 2022).
    """

    width: int
    mean_cosine: float
    top_share: float
    effective_rank: float
    isoscore: float

    def as_dict(self) -> dict[str, float]:
        """For a manifest."""
        return asdict(self)


def sample_rows(count: int, seed: int) -> np.ndarray:
    """Row numbers that figures are taken on, at most 2,000, the same for every space."""
    if count <= _ROWS:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, _ROWS, replace=False))


def anisotropy(vectors_nD: np.ndarray) -> Anisotropy:
    """Figures of n >= 2 vectors that are not all equal."""
    vectors_nD = np.asarray(vectors_nD, dtype=np.float64)
    count, width = vectors_nD.shape
    unit_nD = vectors_nD / np.linalg.norm(vectors_nD, axis=1, keepdims=True).clip(min=1e-12)
    total_D = unit_nD.sum(axis=0)
    mean_cosine = (total_D @ total_D - count) / (count * (count - 1))
    singular_S = np.linalg.svd(vectors_nD - vectors_nD.mean(axis=0), compute_uv=False)
    variance_S = singular_S**2
    share_S = singular_S[singular_S > 0] / singular_S.sum()
    return Anisotropy(
        width,
        float(mean_cosine),
        float(variance_S[0] / variance_S.sum()),
        float(np.exp(-(share_S * np.log(share_S)).sum())),
        _isoscore(np.pad(variance_S, (0, max(0, width - len(variance_S))))),
    )


def _isoscore(variance_D: np.ndarray) -> float:
    """From the variances along the principal directions."""
    width = len(variance_D)
    if width == 1:
        return 1.0
    normed_D = np.sqrt(width) * variance_D / np.linalg.norm(variance_D)
    defect = np.linalg.norm(normed_D - 1) / np.sqrt(2 * (width - np.sqrt(width)))
    used = (width - defect**2 * (width - np.sqrt(width))) ** 2 / width**2
    return float((width * used - 1) / (width - 1))


def linear_cka(left_nD: np.ndarray, right_nE: np.ndarray) -> float:
    """Centred kernel alignment of two spaces of the same rows (Kornblith et al., 2019): 1 where they differ by a
    rotation and a scale, near 0 where they have nothing in common."""
    left_nD, right_nE = _centred(left_nD), _centred(right_nE)
    cross = np.linalg.norm(left_nD.T @ right_nE) ** 2
    return float(cross / (np.linalg.norm(left_nD.T @ left_nD) * np.linalg.norm(right_nE.T @ right_nE)))


def procrustes_error(left_nD: np.ndarray, right_nE: np.ndarray) -> float:
    """What the best rotation leaves unexplained, 0..1, both spaces centred and of unit norm; the narrower one is padded
    with zeros."""
    left_nD, right_nE = _centred(left_nD), _centred(right_nE)
    product = left_nD.T @ right_nE / (np.linalg.norm(left_nD) * np.linalg.norm(right_nE))
    return float(1.0 - np.linalg.svd(product, compute_uv=False).sum() ** 2)


def _centred(vectors_nD: np.ndarray) -> np.ndarray:
    vectors_nD = np.asarray(vectors_nD, dtype=np.float64)
    return np.asarray(vectors_nD - vectors_nD.mean(axis=0))
