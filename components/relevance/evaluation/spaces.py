"""The experts' spaces, what fusion makes of them, and how alike they are: measured on rows no network was fitted on.

Shape suffixes: n rows, D width of a vector.
"""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
import torch
from torch import Tensor

from components.relevance.config import RelevanceConfig
from components.relevance.fitting.crossfit import CrossFit
from components.relevance.judgments.judged import Judged
from components.relevance.metrics.anisotropy import anisotropy, linear_cka, procrustes_error, sample_rows
from components.relevance.model.routed import Routed
from components.relevance.model.spec import MixtureSpec


@torch.inference_mode()
def compare_spaces(data: Judged, crossed: CrossFit, spec: MixtureSpec, config: RelevanceConfig) -> dict[str, Any]:
    """Figures of each expert's vectors and of what each routed variant's head reads, on test rows of the first fold.

    Returns:
        spaces: name -> `Anisotropy`; experts by name as pooled and (normed) as the mixture's slots norm them, variants
            by name (logit averages have no common vector).
        pairs: [{"left", "right", "cka", "procrustes"}] for every two experts, as pooled.
    """
    data = data.of_fold(0)
    test = np.flatnonzero(crossed.fold == 0)
    rows = torch.from_numpy(test[sample_rows(len(test), config.seed)])
    vectors = tuple(vectors_nD[rows] for vectors_nD in data.vectors)
    raw = {name: vectors_nD.numpy() for name, vectors_nD in zip(spec.experts, vectors, strict=True)}
    norms = crossed.networks[config.variants[0].name].fusion.norms
    normed = {
        f"{name} (normed)": norm(vectors_nD).numpy()
        for name, norm, vectors_nD in zip(spec.experts, norms, vectors, strict=True)
    }
    fused = _fused(crossed.networks, data, rows, vectors, config)
    pairs = [
        {
            "left": left,
            "right": right,
            "cka": linear_cka(raw[left], raw[right]),
            "procrustes": procrustes_error(raw[left], raw[right]),
        }
        for left, right in combinations(spec.experts, 2)
    ]
    spaces = {name: anisotropy(vectors_nD).as_dict() for name, vectors_nD in (raw | normed | fused).items()}
    return {"spaces": spaces, "pairs": pairs}


def _fused(
    networks: Mapping[str, Routed], data: Judged, rows: Tensor, vectors: tuple[Tensor, ...], config: RelevanceConfig
) -> dict[str, np.ndarray]:
    """What the head of each variant reads, float32 (n, Z)."""
    return {
        variant.name: networks[variant.name].read(data.ngrams[rows], data.market[rows], vectors).numpy()
        for variant in config.variants
        if variant.fusion != "logit_average"
    }
