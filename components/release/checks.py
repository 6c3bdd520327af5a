"""A question that the gate asks, and how it is answered from a figure and its interval.

Four answers, and when each is given (our choice):

- passed: the figure keeps its bound.
- refused: it does not, and its 95 % interval does not reach the bound. Nothing else stops a release.
- warning: it does not, but its interval reaches the bound, so that more data would have to decide; or it is of a kind
  that is shown and stops nothing. The setting of the bound is named.
- not judged: there is no figure, or too little behind it; the reason is said.

Where several questions of one kind are asked (one per market), each interval is widened so that all of them hold
together at 95 % (Bonferroni, with a normal's quantiles): one of six markets that are as good as they must be would
else be refused by chance once in seven releases. A figure without an interval is taken as it is.
"""

import math
from dataclasses import asdict, dataclass, replace
from statistics import NormalDist
from typing import Any, Literal, Self

from components.contracts.tools.cells import Estimate

Verdict = Literal["passed", "warning", "refused", "not judged"]

_LEVEL = 0.95
# A figure that would need more times the data that there are is taken to lie at its bound.
_HOPELESS = 100


@dataclass(frozen=True)
class Figure:
    """A figure as it was measured.

    Attributes:
        estimate: its value, and the bounds of its interval.
        count: from how many judgments or requests it comes.
        unit: what they are.
        level: of the interval.
    """

    estimate: Estimate
    count: int
    unit: str
    level: float = _LEVEL

    def one_of(self, questions: int) -> Self:
        """The same with the wider interval that it needs where so many questions shall hold together at 95 %."""
        value, low, high = self.estimate.value, self.estimate.low, self.estimate.high
        if questions <= 1 or value is None or low is None or high is None:
            return self
        level = 1 - (1 - _LEVEL) / questions
        wider = _half_width(level) / _half_width(_LEVEL)
        estimate = Estimate(value, value - wider * (value - low), value + wider * (high - value))
        return replace(self, estimate=estimate, level=level)

    def above(self, floor: float) -> Self:
        """By how much it lies above a floor."""
        value, low, high = self.estimate.value, self.estimate.low, self.estimate.high
        moved = (None if number is None else number - floor for number in (value, low, high))
        return replace(self, estimate=Estimate(*moved))


@dataclass(frozen=True)
class Check:
    """One question the gate asked, and the answer.

    Attributes:
        name: what was checked, e.g. "relevance auc".
        market: a market, or "pooled" / "all".
        value: the figure; None if there is none.
        verdict: the answer.
        why: one sentence.
        floor, ceiling: the least and the most that the figure may be; None where there is no such bound.
        margin: by how much it keeps its bound, with the interval that decided; negative beyond the bound.
    """

    name: str
    market: str
    value: float | None
    verdict: Verdict
    why: str
    floor: float | None = None
    ceiling: float | None = None
    margin: Estimate | None = None

    @property
    def passed(self) -> bool:
        """Whether it lets a release be built."""
        return self.verdict != "refused"

    def as_dict(self) -> dict[str, Any]:
        """For verdict.json."""
        return asdict(self) | {"passed": self.passed, "warning": self.verdict == "warning"}


def at_least(name: str, market: str, figure: Figure, floor: float, setting: str) -> Check:
    """A figure against its floor, which `setting` of the profile's section gate holds."""
    value = figure.estimate.value
    if value is None:
        return Check(name, market, None, "refused", f"{name} of {market} could not be computed", floor)
    margin = figure.above(floor)
    verdict, why = _decided(f"{name} of {market}: {value:.4f}", f"the floor {floor:.4f}", margin, setting)
    return Check(name, market, value, verdict, why, floor, margin=margin.estimate)


def not_below(
    name: str, market: str, value: float | None, gain: Figure, baseline: str, tolerance: float, setting: str
) -> Check:
    """A figure against a baseline's, below which it may lie by a tolerance.

    Args:
        name, market: what is compared, and where.
        value: the figure.
        gain: by how much it lies above the baseline's, with the interval of the difference.
        baseline: whose it is.
        tolerance: which `setting` of the profile's section gate holds.
    """
    label = f"{name} against {baseline}"
    if value is None or gain.estimate.value is None:
        return Check(label, market, value, "refused", f"{label} of {market} could not be computed")
    reached, margin = value - gain.estimate.value, gain.above(-tolerance)
    floor = reached - tolerance
    bound = f"{floor:.4f}, which is {baseline}'s {reached:.4f} less {tolerance:g}"
    verdict, why = _decided(f"{label} of {market}: {value:.4f}", bound, margin, setting)
    return Check(label, market, value, verdict, why, floor, margin=margin.estimate)


def not_judged(name: str, market: str, reason: str, value: float | None = None) -> Check:
    """A question without an answer, and why there is none; it stops nothing."""
    return Check(name, market, value, "not judged", f"{name} of {market} not judged: {reason}")


def more_needed(margin: Figure) -> str:
    """How much more data would decide a margin whose interval holds 0, if its value stayed as it is.

    The half width of an interval shrinks with the square root of the data; decided is what it no longer reaches.
    """
    value, low, high = margin.estimate.value, margin.estimate.low, margin.estimate.high
    assert value is not None and low is not None and high is not None
    half = high - value if value < 0 else value - low
    times = (half / value) ** 2 - 1 if value else math.inf
    if times > _HOPELESS:
        return f"it lies at its bound, on which side {margin.count:,} {margin.unit} can't tell"
    return f"about {_rounded(margin.count * times):,} more {margin.unit} would decide it"


def _decided(what: str, bound: str, margin: Figure, setting: str) -> tuple[Verdict, str]:
    """The answer to a margin that should not be negative, and its sentence."""
    value, high = margin.estimate.value, margin.estimate.high
    assert value is not None
    if value >= 0:
        return "passed", f"{what} reaches {bound}"
    said = f"{what} is below {bound} (gate.{setting})"
    if high is None:
        return "refused", f"{said}; it has no interval"
    level = f"{100 * margin.level:.3g} % interval"
    if high < 0:
        return "refused", f"{said}, and so is its {level}, by {-high:.4f} at least"
    return "warning", f"{said}, and its {level} reaches it: {more_needed(margin)}"


def _rounded(count: float) -> int:
    """Up, to two digits."""
    step = 10 ** max(0, math.floor(math.log10(max(count, 1))) - 1)
    return int(max(1, math.ceil(count / step)) * step)


def _half_width(level: float) -> float:
    """Of a standard normal's interval."""
    return NormalDist().inv_cdf((1 + level) / 2)
