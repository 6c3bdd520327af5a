"""The final blend of relevance and ranking: a logistic function of three logits (our choice).

A release carries a copy of this file beside its Triton models; it depends on numpy (1 or 2) alone.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

_EPSILON = 1e-6


@dataclass(frozen=True)
class Blend:
    """score = sigmoid(bias + weights . (logit relevance, logit p_click, logit p_purchase)).

    `relevance_prior` (market -> mean stored relevance) stands in for an item's relevance where none is known.
    """

    weights: tuple[float, float, float]
    bias: float
    relevance_prior: dict[str, float]

    def score(self, relevance: np.ndarray, p_click: np.ndarray, p_purchase: np.ndarray) -> np.ndarray:
        """Scores of n items, float32 (n,), from three arrays of probabilities (n,)."""
        logits = np.stack([logit(relevance), logit(p_click), logit(p_purchase)])
        total = self.bias + np.asarray(self.weights, dtype=np.float64) @ logits
        return np.asarray(1.0 / (1.0 + np.exp(-total)), dtype=np.float32)

    def save(self, path: Path) -> None:
        """Write as JSON."""
        path.write_text(json.dumps(asdict(self), indent=2, sort_keys=True) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "Blend":
        """Read what `save` wrote."""
        content = json.loads(path.read_text(encoding="utf-8"))
        first, second, third = content["weights"]
        return cls((first, second, third), content["bias"], content["relevance_prior"])


def logit(probability: np.ndarray) -> np.ndarray:
    """Log odds in float64, of probabilities kept 1e-6 away from 0 and 1."""
    clipped = np.clip(np.asarray(probability, dtype=np.float64), _EPSILON, 1 - _EPSILON)
    return np.asarray(np.log(clipped / (1 - clipped)))
