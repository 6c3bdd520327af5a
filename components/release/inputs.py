"""What a release is built from: the output directories of one run."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RelevanceInputs:
    """Output directories of the relevance half of a run, and what was judged about it."""

    log: Path
    experts: Path
    encodings: Path
    model: Path
    scores: Path
    drift: Path
    verdict: Path


@dataclass(frozen=True)
class RankingInputs:
    """Output directories of the ranking half of a run."""

    samples: Path
    features: Path
    ranker: Path
