"""Configuration of the ES3 stage."""

from typing import Literal

from pydantic import Field

from components.contracts.config import StageConfig


class SamplesConfig(StageConfig):
    """How entire-space samples are made; the defaults are the laptop profile's.

    Attributes:
        seed: enters the hash that orders unexposed candidates for sampling.
        train_days: length of the training window. What lies before it is history: it may synthesise queries only.
        censored_days: days between training window and validation, dropped because their labels are not yet in.
        valid_days, test_days: lengths of the two evaluation windows, the last one ending at `as_of`.
        click_window_days, purchase_window_days: how long before a non-search event a search may have caused it.
        unexposed_per_exposed: unexposed negatives sampled for each exposed candidate of a training request.
        negatives_per_click: most similar unclicked items of the source request kept with each pseudo positive.
        theta_neg: cosine of title vectors from which an item of another category may be such a negative. It belongs
            to the expert that encodes titles: 0.88 is the 90th percentile between two of a market's simulated titles
            under multilingual-e5-small.
        negative_query: "shared", a pseudo request has the one query made for its positive (the paper); "own", every
            negative has a query made for itself (our variant: relevance then says nothing about the label).
    """

    seed: int = 17
    train_days: int = Field(default=16, ge=1)
    censored_days: int = Field(default=3, ge=0)
    valid_days: int = Field(default=2, ge=1)
    test_days: int = Field(default=3, ge=1)
    click_window_days: int = Field(default=1, ge=1)
    purchase_window_days: int = Field(default=3, ge=1)
    unexposed_per_exposed: float = Field(default=2.0, ge=0)
    negatives_per_click: int = Field(default=4, ge=0)
    theta_neg: float = Field(default=0.88, ge=-1, le=1)
    negative_query: Literal["shared", "own"] = "shared"
