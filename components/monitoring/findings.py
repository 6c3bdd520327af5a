"""What a comparison found, and when that is drift."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from components.monitoring.config import MonitoringConfig

Scope = Literal["feature", "missing", "label", "prediction", "embedding", "market"]
EVERY_MARKET = "all"
EVERY_COLUMN = "*"


@dataclass(frozen=True)
class Finding:
    """One comparison of one column in one market.

    Attributes:
        scope: kind of the column; "market" when nothing of the market could be tested.
        market: a market, or "all" for all rows together.
        column: its name; "*" with scope "market".
        method: name of the way it was scored, e.g. "psi"; "" if it was not.
        score, threshold: it drifts where score >= threshold; None if it could not be tested. The threshold is the
            configured one or the noise floor, whichever is higher.
        drifted: whether score >= threshold, in a column that is not expected to move.
        rows_reference, rows_current: rows with a value.
        why: reason why it was not tested, or is expected to move; "" otherwise.
        expected: whether it moves by construction, so that it is shown and not judged.
        table: table of the column, where several are compared.
    """

    scope: Scope
    market: str
    column: str
    method: str
    score: float | None
    threshold: float | None
    drifted: bool
    rows_reference: int
    rows_current: int
    why: str = ""
    expected: bool = False
    table: str = ""

    @property
    def tested(self) -> bool:
        """Whether the finding counts: it was scored and is not expected to move."""
        return self.score is not None and not self.expected


def untested(scope: Scope, market: str, column: str, rows: tuple[int, int], why: str) -> Finding:
    """A finding that says what could not be tested, and why."""
    return Finding(scope, market, column, "", None, None, False, *rows, why)


@dataclass(frozen=True)
class MarketVerdict:
    """A market's columns (its features, their missing values, its label), counted, and whether it drifted.

    `share` is drifted / tested; `because` names what made it drift.
    """

    tested: int
    drifted_columns: int
    share: float
    drifted: bool
    because: tuple[str, ...]


def judge_markets(findings: Sequence[Finding], config: MonitoringConfig) -> dict[str, MarketVerdict]:
    """A verdict for every market that was found, tested or not.

    A market drifts when `market_share` of a table's tested columns do (but two at least, where it has more than one),
    or its predictions or one of its embeddings do.
    """
    return {market: _judge(market, findings, config) for market in dict.fromkeys(f.market for f in findings)}


def _judge(market: str, findings: Sequence[Finding], config: MonitoringConfig) -> MarketVerdict:
    tested = [f for f in findings if f.market == market and f.tested]
    in_tables = [f for f in tested if f.scope in ("feature", "missing", "label")]
    columns, drifted, because = 0, 0, []
    for table in dict.fromkeys(f.table for f in in_tables):
        of_table = {f.column for f in in_tables if f.table == table}
        moved = {f.column for f in in_tables if f.table == table and f.drifted}
        if len(moved) >= max(math.ceil(config.market_share * len(of_table)), min(2, len(of_table))):
            because.append(f"{len(moved)} of {len(of_table)} columns" + (f" of {table}" if table else ""))
        columns, drifted = columns + len(of_table), drifted + len(moved)
    because += [f"{f.scope} {f.column}" for f in tested if f.drifted and f.scope in ("prediction", "embedding")]
    return MarketVerdict(columns, drifted, drifted / columns if columns else 0.0, bool(because), tuple(because))


def verdict_word(verdict: Mapping[str, Any]) -> str:
    """A market's verdict in drift.json, for people; a market of which nothing was tested did not pass."""
    if verdict["drifted"]:
        return "drifted"
    return "no drift" if verdict["tested"] else "not tested"


def summarise(
    kind: str, findings: Sequence[Finding], config: MonitoringConfig, windows: dict[str, Any], simulated: bool | None
) -> dict[str, Any]:
    """The content of drift.json.

    Args:
        kind: "search", "relevance" or "compare".
        findings: of every market and column.
        config: the stage's.
        windows: what "reference" and "current" were, for people.
        simulated: whether the data was; None if nothing says so.
    """
    verdicts = judge_markets(findings, config)
    return {
        "kind": kind,
        "drifted": any(v.drifted for v in verdicts.values()),
        "expected": config.expects_drift,
        "simulated": simulated,
        "windows": windows,
        "shares": {market: asdict(verdict) for market, verdict in verdicts.items()},
        "untested": [
            {"market": f.market, "scope": f.scope, "column": f.column, "why": f.why}
            for f in findings
            if f.score is None
        ],
        "findings": [asdict(finding) for finding in findings],
    }
