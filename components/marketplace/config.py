"""Configuration of the six-market simulator: sizes of the world, and the dials that experiments turn."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from components.contracts.config import StageConfig
from components.contracts.markets import MARKETS

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]


class MarketplaceConfig(StageConfig):
    """What `simulate` makes. Sizes are per market; defaults are the laptop profile's (our choice throughout).

    Attributes:
        markets: those of the six that are simulated; their order sets market codes and changes nothing else.
        seed: number from which every draw follows.
        days: length of the log; it ends at `as_of`.
        items, users, queries: numbers per market. A query is one distinct normalised text.
        candidates: retrieved items per request, and the size of each query's fixed retrieval pool.
        page_size: positions on the first page; a user is shown this many candidates, or up to two fewer.
        judgments: graded items per query, drawn from its pool.
        search_requests, rec_requests, shop_requests: requests per market; the first is the amount of search data.
        policy_utility: dial of what the logging policy ranks by: 0 popularity alone, 1 the user's utility alone.
        domain_shift: difference of tastes in rec and shop from tastes in search: 0 the same, 1 unrelated.
        elsewhere: share of search requests after which the user comes back, 1-3 days at most, for one of its
            candidates outside search.
        elsewhere_noise: share of those returns that are for any candidate, liked or not.
        annotator_noise: chance that one annotator's grade is a level off.
        drift: size of the change of popularity, prices, query mix and language once drift sets in; 0: none.
        drift_days: days before `as_of` at which drift sets in.
    """

    markets: tuple[str, ...] = MARKETS
    seed: int = 7
    days: Count = 28
    items: Annotated[int, Field(ge=24)] = 200
    users: Annotated[int, Field(ge=2)] = 420
    queries: Count = 40
    candidates: Annotated[int, Field(ge=4)] = 20
    page_size: Annotated[int, Field(ge=3)] = 8
    judgments: Count = 10
    search_requests: Count = 2000
    rec_requests: Count = 1200
    shop_requests: Count = 800
    policy_utility: Share = 0.4
    domain_shift: Share = 0.3
    elsewhere: Share = 0.8
    elsewhere_noise: Share = 0.05
    annotator_noise: Share = 0.1
    drift: Share = 0.0
    drift_days: Annotated[float, Field(gt=0)] = 7.0

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        unknown = sorted(set(self.markets) - set(MARKETS))
        if unknown or not self.markets or len(set(self.markets)) < len(self.markets):
            raise ValueError(f"markets: distinct ones of {', '.join(MARKETS)}; found {list(self.markets)}")
        if self.page_size > self.candidates or self.judgments > self.candidates or self.candidates > self.items:
            raise ValueError("page_size and judgments must not exceed candidates, nor candidates items")
        return self
