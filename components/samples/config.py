"""Configuration of the ES3 stage."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from components.contracts.engine import EngineConfig

# UniScale's labels as we read them (it states no threshold: Youden's is ours). The profile `paper-es3` runs them.
PAPER_LABELS: Mapping[str, Any] = MappingProxyType(
    {"relevance_threshold": "youden", "exposed_credit": True, "unexposed_weight": 1.0, "negative_query": "shared"}
)


class SamplesConfig(EngineConfig):
    """How entire-space samples are made; the defaults are the laptop profile's.

    Attributes:
        seed: enters the hash that orders unexposed candidates for sampling.
        train_days, valid_days, test_days: lengths of the windows whose requests become samples. What lies before the
            first is history: it may synthesise queries only.
        label_days: a request's labels are what happened within so many days after it, in every window alike. As many
            days after each window are dropped, since the labels of their requests are not complete before the next
            window, or `as_of`, begins. A log of months can spare more.
        click_window_days, purchase_window_days: how long before a non-search event a search may have caused it; at
            most `label_days`.
        relevance_threshold: from which relevance to the query a search may have caused an event. "youden", the market's
            threshold on judgments (the paper asks for relevance, and names no threshold); "low_quantile", the
            `threshold_quantile` of its natively clicked pairs; "none", that the search listed the item is enough.
        threshold_quantile: share of the natively clicked pairs that "low_quantile" takes for irrelevant.
        exposed_credit: whether an event outside search labels a row that search showed (the paper). If not, that row
            keeps its native labels, and the event is spent on it: a shown item had its chance of a click.
        unexposed_weight: share of unexposed rows that is kept for training, positives and negatives alike.
        unexposed_per_exposed: unexposed negatives sampled for each exposed candidate of a training request.
        negatives_per_click: most similar unclicked items of the source request kept with each pseudo positive. The
            fewer, the more alike they are, and the less relevance tells of pseudo rows.
        theta_neg: cosine of title vectors from which an item of another category may be such a negative. It belongs
            to the expert that encodes titles: 0.88 is the 90th percentile between two of a market's simulated titles
            under multilingual-e5-small.
        negative_query: "shared", a pseudo request has the one query made for its positive (the paper); "own", every
            negative has a query made for itself (our variant: relevance then says next to nothing about the label).
    """

    seed: int = 17
    train_days: int = Field(default=16, ge=1)
    label_days: int = Field(default=1, ge=1)
    valid_days: int = Field(default=2, ge=1)
    test_days: int = Field(default=3, ge=1)
    click_window_days: int = Field(default=1, ge=1)
    purchase_window_days: int = Field(default=1, ge=1)
    relevance_threshold: Literal["youden", "low_quantile", "none"] = "none"
    threshold_quantile: float = Field(default=0.05, gt=0, lt=1)
    exposed_credit: bool = False
    unexposed_weight: float = Field(default=1.0, gt=0, le=1)
    unexposed_per_exposed: float = Field(default=2.0, ge=0)
    negatives_per_click: int = Field(default=8, ge=1)
    theta_neg: float = Field(default=0.88, ge=-1, le=1)
    negative_query: Literal["shared", "own"] = "shared"

    @model_validator(mode="after")
    def _windows_are_within_labels(self) -> Self:
        for name in ("click_window_days", "purchase_window_days"):
            if getattr(self, name) > self.label_days:
                raise ValueError(
                    f"{name} is {getattr(self, name)}, label_days {self.label_days}: credit is a label, and no later"
                )
        return self

    @property
    def departures(self) -> dict[str, dict[str, Any]]:
        """The options of labels that differ from the paper's, each with its value here and there."""
        return {
            name: {"here": getattr(self, name), "paper": paper}
            for name, paper in PAPER_LABELS.items()
            if getattr(self, name) != paper
        }
