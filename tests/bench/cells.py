"""Cells and tables in Markdown. A gain is written with its interval, and one whose interval holds 0 is said to."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

NO_BREAK = "&nbsp;"


@dataclass(frozen=True)
class Gain:
    """A difference and its 95 % interval, as fractions of one."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, value: float, interval: Sequence[float]) -> Self:
        """From a value and [low, high]."""
        low, high = interval
        return cls(value, low, high)

    @property
    def undecided(self) -> bool:
        """Whether the interval holds 0."""
        return self.low <= 0 <= self.high

    @property
    def figure(self) -> str:
        """The value in points, a hundredth each."""
        return f"{100 * self.value:+.2f}"

    @property
    def interval(self) -> str:
        """The interval in points."""
        return f"{100 * self.low:+.2f} .. {100 * self.high:+.2f}"

    def __str__(self) -> str:
        """All of it in one cell of two lines, neither of which a browser breaks."""
        return f"{self.figure}{', undecided' * self.undecided}<br>{self.interval}".replace(" ", NO_BREAK)


def table(header: Sequence[str], rows: Iterable[Sequence[str]], texts: int = 1) -> str:
    """A Markdown table whose first `texts` columns are text and whose others are figures, on the right."""
    rule = ["---"] * texts + ["---:"] * (len(header) - texts)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *rows))
