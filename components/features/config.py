"""Configuration of the features stage."""

from typing import Literal

from pydantic import Field

from components.contracts.engine import EngineConfig


class FeaturesConfig(EngineConfig):
    """What the feature tables leave open; windows and sequence lengths are in the features' names and contract.

    A row of training sees what a server would have seen whose store is kept fresh at this cadence.

    Attributes:
        ctr_prior: click-through rate that an item or query without exposures is taken to have (our choice).
        ctr_strength: exposures the prior counts for: (clicks + prior * strength) / (exposures + strength).
        cvr_prior: the same of purchases, for one without clicks.
        cvr_strength: clicks the prior counts for.
        refresh_every_hours: hours between two runs of the features pipeline, counted from midnight UTC: who or what
            appears in the log is known from the next one on.
        refresh_delay_hours: hours from such an instant until its features are in the store.
        push_delay_s: seconds from a click or purchase until it is in its user's sequences.
    """

    ctr_prior: float = Field(default=0.1, gt=0, lt=1)
    ctr_strength: float = Field(default=20.0, gt=0)
    cvr_prior: float = Field(default=0.1, gt=0, lt=1)
    cvr_strength: float = Field(default=10.0, gt=0)
    refresh_every_hours: Literal[1, 2, 3, 4, 6, 8, 12, 24] = 1
    refresh_delay_hours: float = Field(default=0.5, ge=0, le=24)
    push_delay_s: float = Field(default=1.0, ge=0)
