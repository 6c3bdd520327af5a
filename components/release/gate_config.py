"""Configuration of the quality gate."""

from pydantic import Field

from components.contracts.config import StageConfig


class GateConfig(StageConfig):
    """Floors a release must reach; defaults are our choice, below seed noise and above a broken model.

    Attributes:
        relevance_variant: the variant that is served.
        relevance_baselines: variants it is held against, those of them that were trained.
        min_relevance_auc: of every market with enough judgments.
        min_judgments: judgments below which a market's AUC is reported and not judged.
        relevance_tolerance: by how much the mixture's pooled AUC may lie below a baseline's.
        min_ranking_auc, min_ranking_gauc: of the served ranker, on native search exposures.
        ranking_tolerance: by how much they may lie below the baseline's.
    """

    relevance_variant: str = "mixture"
    relevance_baselines: tuple[str, ...] = ("tfidf", "best_single")
    min_relevance_auc: float = Field(default=0.6, ge=0, le=1)
    min_judgments: int = Field(default=50, ge=1)
    relevance_tolerance: float = Field(default=0.02, ge=0, le=1)
    min_ranking_auc: float = Field(default=0.55, ge=0, le=1)
    min_ranking_gauc: float = Field(default=0.52, ge=0, le=1)
    ranking_tolerance: float = Field(default=0.02, ge=0, le=1)
