"""Configuration of the monitoring stage."""

from pydantic import Field

from components.contracts.config import StageConfig


class MonitoringConfig(StageConfig):
    """Which rows are compared, how far a column may move, and how much of that makes drift.

    A column drifts when its score reaches both its threshold and its own noise floor (`noise.py`), so that small
    markets give no false alarms; a market drifts when a share of its columns does, or its predictions or embeddings do.
    All defaults are our choice: the simulator's world does not drift by default, and does with its drift dialled up.

    Attributes:
        expects_drift: whether the profile's data is known to drift; the gate then lets drift pass.
        method: way of comparing a column's distributions: population stability index, as Evidently computes it.
        threshold: PSI at which a column drifts; 0.2 is the usual "significant shift".
        missing_threshold: change of a column's share of missing values at which it drifts.
        market_share: share of a market's tested columns that must drift for the market to drift.
        embedding_threshold: ROC AUC of a classifier that tells reference from current vectors, at which they drift;
            two normal distributions with a PSI of 0.2 are told apart with an AUC of 0.62.
        embedding_components: principal components the classifier reads.
        noise_quantile: quantile of the score without drift that a score must exceed to count.
        noise_draws: random swaps from which that quantile is estimated.
        min_rows: rows that a market needs in both windows to be judged; one with fewer is reported as not tested.
        min_entities: distinct users, items or queries that a noise floor needs; a column with fewer is not tested.
        max_rows: most rows that are compared per market and window, drawn at random.
        max_categories: most frequent categories kept apart; the others are one category.
        reference_shift_days: days by which the current window is moved back to give the reference window. Whole weeks,
            so that both windows hold the same weekdays; two, so that it lies before the censored days and its 7-day
            counts come from a full week of history.
        history_days: days of log known to lie before the first training row. A count over more days than lie between
            the log's start and the reference window grows by construction: it is shown, not judged.
        seed: of the random swaps.
    """

    expects_drift: bool = False
    method: str = Field(default="psi", pattern="^psi$")
    threshold: float = Field(default=0.2, gt=0)
    missing_threshold: float = Field(default=0.1, gt=0, le=1)
    market_share: float = Field(default=0.2, gt=0, le=1)
    embedding_threshold: float = Field(default=0.6, gt=0.5, le=1)
    embedding_components: int = Field(default=32, ge=2)
    noise_quantile: float = Field(default=0.999, gt=0.5, lt=1)
    noise_draws: int = Field(default=1000, ge=100)
    min_rows: int = Field(default=200, ge=2)
    min_entities: int = Field(default=10, ge=2)
    max_rows: int = Field(default=20_000, ge=100)
    max_categories: int = Field(default=10, ge=2)
    reference_shift_days: int = Field(default=14, ge=7, multiple_of=7)
    history_days: float = Field(default=4, ge=0)
    seed: int = 0
