"""Configuration of the features stage."""

from pydantic import Field

from components.contracts.engine import EngineConfig


class FeaturesConfig(EngineConfig):
    """What the feature tables leave open; windows and sequence lengths are in the features' names and contract.

    Attributes:
        ctr_prior: click-through rate that an item or query without exposures is taken to have (our choice).
        ctr_strength: exposures the prior counts for: (clicks + prior * strength) / (exposures + strength).
    """

    ctr_prior: float = Field(default=0.1, gt=0, lt=1)
    ctr_strength: float = Field(default=20.0, gt=0)
