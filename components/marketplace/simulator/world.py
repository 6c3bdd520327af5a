"""Shared by the parts of the simulator: how each market writes and prices, independent random streams, and ids.

Shapes: R rows of weights, C choices of a row.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.marketplace.simulator.lexicon.attributes import BRANDS, COLOURS, FEATURES

ABSENT = -1  # in a list of items: none at this place
_ROUNDS = 50
_MOST = 60.0
FEATURE_KEYS: tuple[str, ...] = tuple(FEATURES)
COLOUR_KEYS: tuple[str, ...] = tuple(COLOURS)
BRAND_NAMES: tuple[str, ...] = tuple(sorted({brand for brands in BRANDS.values() for brand in brands}))


@dataclass(frozen=True)
class Ways:
    """How a market writes and prices (our choice; ID and VN follow the real titles the tests compare with).

    Attributes:
        language: language of its titles.
        second: the language mixed into titles.
        mixing: chance that one phrase of a title is in the second language.
        query_languages: language -> share of queries.
        dollar: local price of one US dollar, at marketplace price levels.
        step: prices are whole multiples of this.
        promotion: chance that a title carries seller spam (in front, behind, or both).
        punctuation: chance that sizes, colours and codes are set off by punctuation.
        shouting: chance that a title is in capitals.
    """

    language: str
    second: str
    mixing: float
    query_languages: dict[str, float]
    dollar: float
    step: float
    promotion: float
    punctuation: float
    shouting: float


WAYS: dict[str, Ways] = {
    "ID": Ways("id", "en", 0.25, {"id": 0.8, "en": 0.2}, 9000.0, 100.0, 0.11, 0.7, 0.07),
    "MY": Ways("ms", "en", 0.35, {"ms": 0.65, "en": 0.25, "zh": 0.1}, 3.0, 0.1, 0.35, 0.4, 0.08),
    "PH": Ways("tl", "en", 0.45, {"tl": 0.6, "en": 0.4}, 35.0, 1.0, 0.35, 0.4, 0.08),
    "SG": Ways("en", "zh", 0.12, {"en": 0.75, "zh": 0.25}, 1.3, 0.1, 0.3, 0.5, 0.04),
    "TH": Ways("th", "en", 0.2, {"th": 0.8, "en": 0.2}, 25.0, 1.0, 0.35, 0.3, 0.0),
    "VN": Ways("vi", "en", 0.1, {"vi": 0.8, "en": 0.2}, 19000.0, 500.0, 0.15, 0.5, 0.05),
}


def stream(seed: int, market: str, part: str) -> np.random.Generator:
    """The random stream of one part of one market: no part's draws move another's, whatever the order of markets."""
    digest = hashlib.md5(f"{seed}:{market}:{part}".encode(), usedforsecurity=False).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def make_ids(prefix: str, count: int, width: int) -> pa.Array:
    """``count`` strings: the prefix and a zero-padded running number from 0."""
    numbers = pc.utf8_lpad(pa.array(np.arange(count)).cast(pa.string()), width, "0")
    return pc.binary_join_element_wise(prefix, numbers, "")


def arrivals(rng: np.random.Generator, count: int, late: float) -> np.ndarray:
    """When each of `count` first comes, as a share of the log: a share `late` evenly over it, the others at 0."""
    arrival = np.zeros(count)
    arrival[rng.permutation(count)[: int(late * count)]] = 1.0
    return arrival * rng.random(count)


def draw_present(draw: Callable[[np.ndarray], np.ndarray], arrival: np.ndarray, share_R: np.ndarray) -> np.ndarray:
    """What `draw` gives for R moments, drawn again where it has not come by then.

    Where that keeps happening, one of those that are there from the start, all alike.

    Args:
        draw: from row numbers among the R to one choice each.
        arrival: when each choice first comes, as a share of the log; some are there from the start.
        share_R: how much of the log has passed at each moment.

    Returns:
        (R,) choices.
    """
    drawn_R = draw(np.arange(len(share_R)))
    for _ in range(_ROUNDS):
        early = np.flatnonzero(arrival[drawn_R] > share_R)
        if not len(early):
            return drawn_R
        drawn_R[early] = draw(early)
    early = np.flatnonzero(arrival[drawn_R] > share_R)
    first = np.flatnonzero(arrival == 0)
    drawn_R[early] = first[early % len(first)]
    return drawn_R


def draw_rows(cumulative_RC: np.ndarray, rows: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """One column index per draw, from the row ``rows[i]`` of row-wise cumulative probabilities (each row ends at 1).

    Args:
        cumulative_RC: float64 (R, C), non-decreasing in a row.
        rows: int (n, ...) row of each draw.
        uniform: float (n, ...) in [0, 1).
    """
    n_columns = cumulative_RC.shape[1]
    # Rows end to end, each lifted by its own number, form one sorted array: a single search serves every row.
    lifted = (cumulative_RC + np.arange(len(cumulative_RC))[:, None]).ravel()
    found = np.searchsorted(lifted, rows + uniform, side="right") - rows * n_columns
    return np.asarray(np.clip(found, 0, n_columns - 1))


def weights(log_weights_RC: np.ndarray) -> np.ndarray:
    """Weights of row-wise choices from their logarithms; rows of which no float would hold any are shifted."""
    most_R = log_weights_RC.max(axis=-1, keepdims=True)
    return np.asarray(np.exp(log_weights_RC - (most_R - np.clip(most_R, -_MOST, _MOST))))


def cumulative(weights_RC: np.ndarray) -> np.ndarray:
    """Row-wise cumulative probabilities, float64, from non-negative weights."""
    total = np.cumsum(weights_RC, axis=1, dtype=np.float64)
    return np.asarray(total / total[:, -1:])
