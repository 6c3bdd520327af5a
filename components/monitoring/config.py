"""Configuration of the monitoring stage."""

from pydantic import Field

from components.contracts.config import StageConfig


class MonitoringConfig(StageConfig):
    """Which rows are compared, and which move is a warning or critical.

    A column moved when its tests say so (`sign_flips.py`), with false discoveries controlled over all tests of a run;
    how far it moved decides how serious that is (`findings.py`). All defaults are our choice; their rates of false and
    missed alarms are measured in tests/bench/README.md.

    Attributes:
        expects_drift: whether the profile's data is known to drift; the gate then lets critical findings pass.
        false_discovery_rate: share of false discoveries among the moves that a run finds, and the probability of any
            where nothing moved.
        pooled_share: part of that rate that is spent on all markets together, where single markets are tested too.
        draws: random sign flips from which p-values are computed, at least; more where a run has many tests.
        min_moved_share: share of a column's rows that must change their bin or category for a warning.
        critical_psi: population stability index at which a feature's move is critical: another distribution.
        critical_outcome_psi: the same for labels, predictions and served scores; 0.1 is the usual "moderate shift".
        critical_outcome_factor: factor between the means of a label, prediction or score that is critical.
        unit_factor: factor between medians that is a change of unit, which is critical.
        row_factor: factor between a market's rows (per day, where there are times) that is critical.
        critical_in_a_row: windows in a row with the same warning that make it critical.
        worth_finding_sd, worth_finding_share: change of a number, or of a category's share, that is worth finding:
            where fewer rows than that needs were compared, the pages say how many windows to pool.
        embedding_threshold: ROC AUC of a classifier that tells reference from current vectors, at which they drift;
            two normal distributions with a PSI of 0.2 are told apart with an AUC of 0.62.
        embedding_components: principal components the classifier reads.
        min_rows: rows that a market needs in both windows to be judged; one with fewer is reported as not tested.
        min_entities: distinct users, items or queries that a test needs; a column with fewer is not tested.
        max_rows: most rows that are compared per market and window, drawn at random.
        max_categories: most frequent categories kept apart; the others are tested together, as the tail.
        reference_shift_days: days by which the current window is moved back to give the reference window. Whole weeks,
            so that both windows hold the same weekdays; two, so that it lies in the training window and its 7-day
            counts come from a full week of history.
        history_days: days of log known to lie before the first training row. A count over more days than lie between
            the log's start and the reference window grows by construction: it is shown, not judged.
        seed: of the sign flips.
    """

    expects_drift: bool = False
    false_discovery_rate: float = Field(default=0.05, gt=0, lt=1)
    pooled_share: float = Field(default=0.7, gt=0, lt=1)
    draws: int = Field(default=20_000, ge=1000)
    min_moved_share: float = Field(default=0.01, ge=0, le=1)
    critical_psi: float = Field(default=1.0, gt=0)
    critical_outcome_psi: float = Field(default=0.1, gt=0)
    critical_outcome_factor: float = Field(default=1.5, gt=1)
    unit_factor: float = Field(default=10, gt=1)
    row_factor: float = Field(default=3, gt=1)
    critical_in_a_row: int = Field(default=3, ge=2)
    worth_finding_sd: float = Field(default=0.2, gt=0)
    worth_finding_share: float = Field(default=0.05, gt=0, le=1)
    embedding_threshold: float = Field(default=0.6, gt=0.5, le=1)
    embedding_components: int = Field(default=32, ge=2)
    min_rows: int = Field(default=200, ge=2)
    min_entities: int = Field(default=10, ge=2)
    max_rows: int = Field(default=20_000, ge=100)
    max_categories: int = Field(default=20, ge=2)
    reference_shift_days: int = Field(default=14, ge=7, multiple_of=7)
    history_days: float = Field(default=4, ge=0)
    seed: int = 0
