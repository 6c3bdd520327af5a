"""Configuration of the quality gate."""

from pydantic import Field

from components.contracts.config import StageConfig


class GateConfig(StageConfig):
    """Floors a release must reach; defaults are our choice, below seed noise and above a broken model.

    Attributes:
        relevance_variant: variant that is served.
        relevance_baselines: variants it is compared with, where they were trained.
        min_relevance_auc: floor of the AUC of every market with enough judgments, and of all together.
        min_judgments: judgments that a market needs for its AUC to be judged; with fewer it is only reported.
        relevance_tolerance: most by which the mixture's pooled AUC may lie below a baseline's.
        min_ranking_auc, min_ranking_gauc: floors of the served ranker's AUC and GAUC, on native search exposures.
        ranking_tolerance: most by which they may lie below the baseline ranker's.
    """

    relevance_variant: str = "mixture"
    relevance_baselines: tuple[str, ...] = ("tfidf", "best_single")
    min_relevance_auc: float = Field(default=0.6, ge=0, le=1)
    min_judgments: int = Field(default=50, ge=1)
    relevance_tolerance: float = Field(default=0.02, ge=0, le=1)
    min_ranking_auc: float = Field(default=0.55, ge=0, le=1)
    min_ranking_gauc: float = Field(default=0.52, ge=0, le=1)
    ranking_tolerance: float = Field(default=0.02, ge=0, le=1)
