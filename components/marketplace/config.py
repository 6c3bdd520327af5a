"""Configuration of the six-market simulator: sizes of the world, and the dials of how its people and shops behave."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from components.contracts.config import StageConfig
from components.contracts.markets import MARKETS

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
# What is there from the start must be enough to search, show and ask for.
Late = Annotated[float, Field(ge=0, le=0.8)]
Size = Annotated[float, Field(ge=0)]
Factor = Annotated[float, Field(gt=0)]
Mean = Annotated[float, Field(ge=1)]


class MarketplaceConfig(StageConfig):
    """What `simulate` makes. Sizes are per market; defaults are the laptop profile's (our choice throughout).

    A logit is the log of the odds p / (1 - p). Utility is the logit of a click once an item is looked at: in search
    `search_bias + relevance_weight * grade + affinity`, elsewhere `browse_bias + affinity`, and `want_utility` more for
    an item that the user came back for.

    Attributes:
        markets: those of the six that are simulated; their order sets market codes and changes nothing else.
        seed: number from which every draw follows.
        days: length of the log; it ends at `as_of`.
        items, users, queries: numbers per market. A query is one distinct normalised text.
        candidates: most items that a request retrieves; a search finds fewer where not all of them are listed yet.
        pool: size of each query's retrieval pool over `candidates`. At 1 a query always finds the same items; above it,
            each request retrieves its own.
        page_size: positions on the first page; a user is shown this many candidates, or up to two fewer.
        judgments: graded items per query, drawn from its pool.
        search_requests, rec_requests, shop_requests: requests per market; the first is the amount of search data.
        policy_utility: dial of what the logging policy ranks by: 0 popularity alone, 1 the user's utility alone.
        domain_shift: difference of tastes in rec and shop from tastes in search: 0 the same, 1 unrelated.
        elsewhere: share of search requests after which the user comes back, 1-3 days at most, for some of its
            candidates outside search.
        elsewhere_noise: share of those returns that are for any candidate, liked or not.
        annotator_noise: chance that one annotator's grade is a level off.
        drift: size of the change of popularity, prices, query mix and language once drift sets in; 0: none.
        drift_days: days before `as_of` at which drift sets in.
        weekend: requests on a Saturday or Sunday of the market's own time, over those of another day.
        sale_days: days of a sale, each 24 hours: 1 the last of the log, 2 the one before.
        sale_traffic: requests on a day of a sale over those of another.
        sale_purchase: what a sale adds to the logit of a purchase.
        new_users, new_items, new_queries: shares that first come during the log, spread evenly over it: nobody searches
            before they come, nothing is shown before it is listed, and no query is asked before it is new.
        user_spread: standard deviation of the log of users' activity: larger, and fewer users make more of the traffic.
        popularity_spread: standard deviation of items' log-popularity, which the policy, the pages of rec and the taste
            of everyone share.
        query_exponent: power law of queries: the r-th most frequent one is asked in proportion to r ** -exponent.
        query_taste: how much a query's product type being to the user's taste adds to the log of how often they ask it.
        typos: chance that a query has a slip of the finger.
        session_searches: mean searches of a session; each user's sessions are geometric in length. 1: every search is
            alone.
        session_pause: mean minutes between two searches of a session.
        repeat, refine: chance that a session's next search is the same query again, or another one for the same kind
            of product; else it is about something new.
        retrieval_weight, retrieval_noise: weight, in the policy's score, of retrieval's guess at relevance, and the
            standard deviation of that guess, which errs the same way each time a query is asked.
        retrieval_jitter: scale of what a request's retrieval errs in addition where the pool exceeds the candidates.
        policy_noise: scale of the Gumbel noise in each request's scores.
        position_decay: a position p is looked at with chance p ** -decay.
        search_bias, browse_bias: utility of an item that nobody likes or dislikes, in search and elsewhere.
        relevance_weight: what full relevance to the query adds to utility in search.
        type_weight, brand_weight, price_weight, style_weight, quality_weight: weights in an item's affinity of the
            user's taste for its type, for its brand, for cheap things and for its style, and of its popularity.
        purchase_bias, purchase_slope: a click becomes a purchase at logit bias + slope * utility.
        cart, cart_before_purchase: chance of a cart after a click without, and with, a purchase.
        slow_purchase: share of purchases that take a day rather than minutes.
        quick_purchase_hours, slow_purchase_hours: mean hours from a click to a purchase of either kind, three days at
            most.
        wants: candidates for which a user comes back after a search that makes them come back.
        want_appeal: how much utility makes a candidate likelier to be wanted; 0: any of them.
        want_days: days for which a want lasts.
        want_utility, want_score: what being wanted adds, outside search, to an item's utility and to its score in the
            policy.
        direct: share of wants that are met through a link or a wish list: events without a request.
        direct_purchase: chance of a purchase after such a click.
        direct_hours: mean hours from the search to such a click.
        direct_late: share of such clicks that come one to two and a half days later instead.
        direct_rec: share of such events that count as rec; the others count as shop.
        follow_up, follow_up_hours: share of requests outside search that follow a search of the same user, and mean
            hours after it.
        rec_wants: wants that a page of rec may hold: the latest so many.
        rec_want: chance that it holds each of them.
        shop_want: share of the visits of a shop that open the one of the latest want.
        shop_taste: how much a user's liking of a shop's items adds to the log of how often they open it.
    """

    markets: tuple[str, ...] = MARKETS
    seed: int = 7
    days: Count = 28
    items: Annotated[int, Field(ge=24)] = 200
    users: Annotated[int, Field(ge=2)] = 420
    queries: Count = 40
    candidates: Annotated[int, Field(ge=4)] = 20
    pool: Mean = 1.0
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
    drift_days: Factor = 7.0
    # When.
    weekend: Factor = 1.0
    sale_days: tuple[Count, ...] = ()
    sale_traffic: Factor = 2.5
    sale_purchase: float = 0.7
    new_users: Late = 0.0
    new_items: Late = 0.0
    new_queries: Late = 0.0
    # Who asks what.
    user_spread: Size = 1.0
    popularity_spread: Size = 1.0
    query_exponent: Size = 0.8
    query_taste: Size = 1.3
    typos: Share = 0.2
    session_searches: Mean = 1.0
    session_pause: Factor = 3.0
    repeat: Share = 0.2
    refine: Share = 0.5
    # What is shown.
    retrieval_weight: Size = 1.0
    retrieval_noise: Size = 0.35
    retrieval_jitter: Size = 0.35
    policy_noise: Size = 0.5
    # What people make of it.
    position_decay: Size = 0.5
    search_bias: float = -3.6
    browse_bias: float = -2.6
    relevance_weight: float = 3.0
    type_weight: float = 1.2
    brand_weight: float = 0.7
    price_weight: float = 0.5
    style_weight: float = 0.3
    quality_weight: float = 0.35
    purchase_bias: float = -1.6
    purchase_slope: float = 0.5
    cart: Share = 0.2
    cart_before_purchase: Share = 0.8
    slow_purchase: Share = 0.25
    quick_purchase_hours: Factor = 0.3
    slow_purchase_hours: Factor = 20.0
    # What they do elsewhere.
    wants: Count = 1
    want_appeal: Size = 1.5
    want_days: Factor = 3.0
    want_utility: float = 2.5
    want_score: float = 1.5
    direct: Share = 0.45
    direct_purchase: Share = 0.3
    direct_hours: Factor = 6.0
    direct_late: Share = 0.15
    direct_rec: Share = 0.7
    follow_up: Share = 0.6
    follow_up_hours: Factor = 8.0
    rec_wants: Count = 2
    rec_want: Share = 0.6
    shop_want: Share = 0.7
    shop_taste: Size = 1.5

    @property
    def pool_size(self) -> int:
        """Items in each query's retrieval pool."""
        return round(self.pool * self.candidates)

    def scaled(self, by: float) -> Self:
        """The same world with `by` times the users and requests; items and queries grow by its square root.

        As a shop grows, more people want the same things: there is more to learn of each.

        Raises:
            BadInput: that is too small for one page.
        """
        factors = dict.fromkeys(("users", "search_requests", "rec_requests", "shop_requests"), by)
        factors |= dict.fromkeys(("items", "queries"), by**0.5)
        return self.of_structure(
            self.structure | {k: round(factor * getattr(self, k)) for k, factor in factors.items()}
        )

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        unknown = sorted(set(self.markets) - set(MARKETS))
        if unknown or not self.markets or len(set(self.markets)) < len(self.markets):
            raise ValueError(f"markets: distinct ones of {', '.join(MARKETS)}; found {list(self.markets)}")
        if self.page_size > self.candidates or self.judgments > self.candidates or self.pool_size > self.items:
            raise ValueError("page_size and judgments must not exceed candidates, nor candidates * pool items")
        if self.wants > self.candidates:
            raise ValueError("wants must not exceed candidates")
        if self.repeat + self.refine > 1:
            raise ValueError("repeat and refine are chances of one draw: together at most 1")
        if any(day > self.days for day in self.sale_days):
            raise ValueError(f"sale_days: within the log's {self.days} days")
        return self
