"""Configuration of the quality gate."""

from pydantic import Field

from components.contracts.config import StageConfig


class GateConfig(StageConfig):
    """Bounds a release must keep; defaults are our choice, below seed noise and above a broken model.

    A figure refuses a release where its 95 % interval lies beyond the bound as well, and warns where it reaches it.

    Attributes:
        relevance_variant: variant that is served.
        relevance_baselines: variants it is compared with, where they were trained: with each over all markets, and with
            the best of them in every market.
        min_relevance_auc: floor of the AUC of every market with enough judgments, and of all together.
        min_judgments: judgments that a market needs for its AUC to be judged; with fewer it is only reported.
        relevance_tolerance: most by which the mixture's AUC may lie below a baseline's, or below that of the release
            that is served.
        min_ranking_auc, min_ranking_gauc: floors of AUC and GAUC on native search exposures, of the served ranker and
            of its blend with relevance.
        ranking_tolerance: most by which they may lie below the baseline ranker's.
        max_miscalibration: factor by which predicted clicks of a market may be more or fewer than the actual ones;
            beyond it the gate warns and never refuses: the order of a page does not depend on it.
        max_active_parameters: most parameters of the mixture that run for a pair, on average.
        max_p99_ms: milliseconds within which 99 of 100 requests should be answered. Judged where a run serves its
            release at the end, where it warns: that machine is not the one that will serve.
    """

    relevance_variant: str = "mixture"
    relevance_baselines: tuple[str, ...] = ("tfidf", "best_single")
    min_relevance_auc: float = Field(default=0.6, ge=0, le=1)
    min_judgments: int = Field(default=50, ge=1)
    relevance_tolerance: float = Field(default=0.02, ge=0, le=1)
    min_ranking_auc: float = Field(default=0.55, ge=0, le=1)
    min_ranking_gauc: float = Field(default=0.52, ge=0, le=1)
    ranking_tolerance: float = Field(default=0.02, ge=0, le=1)
    max_miscalibration: float = Field(default=1.25, ge=1)
    max_active_parameters: int = Field(default=1_000_000_000, ge=1)
    max_p99_ms: float = Field(default=2000, gt=0)
