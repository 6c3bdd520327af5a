"""What a comparison found, and how serious it is.

Levels:
- critical: fails the gate, exit code 3. A market or domain gone or new, far fewer or more rows, a column that is gone,
  new, of another type, empty or constant, whose unit changed or whose distribution is another one; labels, predictions
  or served scores that moved; more requests that the server failed; a warning in several windows in a row.
- warning: any other column that moved; a market that could not be tested.
- info: a move too small to matter, or one that is expected; a column that could not be tested.

False alarms are controlled by run: the p-values of all columns and markets, one each for all of its tests, go through
one control of the false discovery rate (Benjamini-Hochberg). Where nothing moved at all, a run has any warning with a
probability of at most `false_discovery_rate`. A critical finding needs a large move beside it.

Most causes move every market, and all rows together show them best. So their few tests get most of that rate and those
of single markets share the rest: p-values are divided by weights of mean 1 (Genovese, Roeder and Wasserman, 2006).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import ceil
from typing import Any, Literal

from scipy.stats import false_discovery_control, norm

from components.monitoring.config import MonitoringConfig

Scope = Literal["schema", "rows", "market", "missing", "feature", "label", "prediction", "errors", "embedding"]
Severity = Literal["none", "info", "warning", "critical"]
SEVERITIES: tuple[Severity, ...] = ("none", "info", "warning", "critical")
EVERY_MARKET = "all"
EVERY_COLUMN = "*"
_POWER = 0.8


@dataclass(frozen=True)
class Finding:
    """One comparison of one column in one market.

    Attributes:
        scope: kind of what was compared; "schema" and "rows" are plain facts without a p-value.
        market: a market, or "all" for all rows together.
        column: its name; "*" where it is the market's rows.
        what: what moved, in one sentence: "median 195 -> 219 (+12 %)".
        rows_reference, rows_current: rows with a value.
        p_values: test -> p-value; none if it was not tested.
        p_value: of all its tests together; None if it was not tested.
        adjusted: that after control over the whole run.
        size: share of rows that moved to another bin or category; for embeddings the classifier's ROC AUC.
        psi: population stability index, as Evidently gives it; None where no test found a move.
        severity: how serious it is.
        broken: the rule that makes a move critical, e.g. "empty now"; "" if none.
        noise: standard deviation of the change without any move, in `unit`; None if unknown.
        unit: "sd" (standard deviations of the column) or "share".
        smallest: the smallest change that this many rows find four times in five, in `unit`.
        windows_needed: windows like this to pool until the smallest change is one worth finding; 1 if it is already.
        in_a_row: windows in a row in which it is a warning or worse.
        why: why it was not tested, or is expected to move; "" otherwise.
        better: whether it moved to the good side, as fewer errors do.
        expected: whether it moves by construction, so that it is shown and not judged.
        table: table of the column, where several are compared.
    """

    scope: Scope
    market: str
    column: str
    what: str
    rows_reference: int
    rows_current: int
    p_values: Mapping[str, float] = field(default_factory=dict)
    p_value: float | None = None
    adjusted: float | None = None
    size: float | None = None
    psi: float | None = None
    severity: Severity = "none"
    broken: str = ""
    noise: float | None = None
    unit: Literal["sd", "share"] = "share"
    smallest: float | None = None
    windows_needed: int = 1
    in_a_row: int = 0
    why: str = ""
    better: bool = False
    expected: bool = False
    table: str = ""

    @property
    def tested(self) -> bool:
        """Whether the finding counts: it was tested and is not expected to move."""
        return self.p_value is not None and not self.expected

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What it is about, the same in every window."""
        return self.table, self.market, self.column, self.scope

    @property
    def serious(self) -> bool:
        """Whether it is a warning or critical."""
        return self.severity in ("warning", "critical")


def untested(scope: Scope, market: str, column: str, rows: tuple[int, int], why: str) -> Finding:
    """A finding that says what could not be tested, and why: a warning for a market, never a pass."""
    return Finding(scope, market, column, "", *rows, severity="warning" if scope == "market" else "info", why=why)


def control(findings: Sequence[Finding], config: MonitoringConfig) -> list[Finding]:
    """The findings with their p-values adjusted over the run, and the smallest change that each could have found.

    Those that move by construction are a family of their own, so that they cost the others nothing. The smallest change
    is for a column that moves alone, where Benjamini-Hochberg is as strict as Bonferroni.
    """
    controlled = list(findings)
    for expected in (False, True):
        family = [n for n, f in enumerate(findings) if f.p_value is not None and f.expected == expected]
        for place, finding in zip(family, _controlled([findings[n] for n in family], config), strict=True):
            controlled[place] = finding
    return controlled


def _controlled(family: Sequence[Finding], config: MonitoringConfig) -> list[Finding]:
    """Tests of one family with `adjusted`, and `smallest` and `windows_needed` where their noise is known."""
    weigh = weights_of_tests(sum(f.market == EVERY_MARKET for f in family), len(family), config)
    weighted = [min(1.0, (f.p_value or 0.0) / weigh(f.market)) for f in family]
    worth = {"sd": config.worth_finding_sd, "share": config.worth_finding_share}
    controlled = []
    for finding, adjusted in zip(family, false_discovery_control(weighted) if family else (), strict=True):
        finding = replace(finding, adjusted=float(adjusted))
        if finding.noise is not None:
            alone = weigh(finding.market) * config.false_discovery_rate / len(family)
            smallest = float((norm.isf(alone / 2) + norm.isf(1 - _POWER)) * finding.noise)
            windows = max(1, ceil((smallest / worth[finding.unit]) ** 2))
            finding = replace(finding, smallest=smallest, windows_needed=windows)
        controlled.append(finding)
    return controlled


def weights_of_tests(pooled: int, tests: int, config: MonitoringConfig) -> Callable[[str], float]:
    """What a market's p-values are divided by before they are controlled, 1 on average over a run.

    Args:
        pooled: number of tests over all markets together.
        tests: number of all tests.
        config: the stage's.
    """
    if pooled in (0, tests):
        return lambda _: 1.0
    together = config.pooled_share * tests / pooled
    apart = (1 - config.pooled_share) * tests / (tests - pooled)
    return lambda market: together if market == EVERY_MARKET else apart


def moved(finding: Finding, config: MonitoringConfig) -> bool:
    """Whether a test found a move."""
    return finding.adjusted is not None and finding.adjusted <= config.false_discovery_rate


def rate(finding: Finding, config: MonitoringConfig) -> Finding:
    """The finding with its severity; facts and untested columns have theirs already."""
    if finding.p_value is None or not moved(finding, config):
        return finding
    return replace(finding, severity="info" if finding.expected else _severity(finding, config))


def critical_psi(finding: Finding, config: MonitoringConfig) -> float:
    """The population stability index from which a column that moved is critical."""
    return config.critical_psi if finding.scope == "feature" else config.critical_outcome_psi


def _severity(finding: Finding, config: MonitoringConfig) -> Severity:
    assert finding.size is not None
    if finding.better:
        return "info"
    if finding.broken:
        return "critical"
    if finding.scope == "embedding":
        return "warning" if finding.size >= config.embedding_threshold else "info"
    if finding.psi is not None and finding.psi >= critical_psi(finding, config):
        return "critical"
    return "warning" if finding.size >= config.min_moved_share else "info"


def count_windows(
    findings: Sequence[Finding], previous: Mapping[str, Any] | None, config: MonitoringConfig
) -> list[Finding]:
    """The findings with their windows in a row, given drift.json of the window before; many in a row are critical."""
    before = {
        (f["table"], f["market"], f["column"], f["scope"]): f["in_a_row"]
        for f in (previous["findings"] if previous else [])
    }
    counted = []
    for finding in findings:
        if finding.serious:
            in_a_row = before.get(finding.key, 0) + 1
            finding = replace(finding, in_a_row=in_a_row)
            if in_a_row >= config.critical_in_a_row and finding.scope != "market":
                finding = replace(finding, severity="critical", broken=f"a warning in {in_a_row} windows in a row")
        counted.append(finding)
    return counted


@dataclass(frozen=True)
class MarketVerdict:
    """A market's findings, counted: its worst level, its columns, and what the serious findings are about."""

    severity: Severity
    tested: int
    critical: int
    warnings: int
    because: tuple[str, ...]


def judge_markets(findings: Sequence[Finding]) -> dict[str, MarketVerdict]:
    """A verdict for every market that was found, tested or not."""
    return {market: _judge([f for f in findings if f.market == market]) for market in _markets(findings)}


def _markets(findings: Sequence[Finding]) -> list[str]:
    """In alphabetical order, all of them together last."""
    return sorted({f.market for f in findings}, key=lambda market: (market == EVERY_MARKET, market))


def _judge(findings: Sequence[Finding]) -> MarketVerdict:
    serious = sorted((f for f in findings if f.serious), key=seriousness, reverse=True)
    return MarketVerdict(
        severity=max((f.severity for f in findings), key=SEVERITIES.index),
        tested=len({(f.table, f.column) for f in findings if f.tested}),
        critical=sum(f.severity == "critical" for f in findings),
        warnings=sum(f.severity == "warning" for f in findings),
        because=tuple(sentence(f) for f in serious),
    )


def seriousness(finding: Finding) -> tuple[int, int, float, float]:
    """Sort key: the more serious, the larger."""
    certain = 1 - (finding.adjusted or 0.0)
    return SEVERITIES.index(finding.severity), int(bool(finding.broken)), finding.size or 0.0, certain


def sentence(finding: Finding) -> str:
    """What a finding says, without its market."""
    name = "" if finding.column == EVERY_COLUMN else f"{finding.column}: "
    return name + statement(finding)


def statement(finding: Finding) -> str:
    """What a finding says, without its market and column."""
    return ", ".join(part for part in (finding.what, finding.broken) if part) or f"not tested ({finding.why})"


def verdict_word(verdict: Mapping[str, Any]) -> str:
    """A market's verdict in drift.json, for people; a market of which nothing was tested did not pass."""
    if verdict["severity"] in ("warning", "critical"):
        return str(verdict["severity"])
    return "no move" if verdict["tested"] else "not tested"


def summarise(
    kind: str, findings: Sequence[Finding], config: MonitoringConfig, windows: dict[str, Any], simulated: bool | None
) -> dict[str, Any]:
    """The content of drift.json.

    Args:
        kind: "search", "relevance" or "compare".
        findings: of every market and column, rated.
        config: the stage's.
        windows: what "reference" and "current" were, for people.
        simulated: whether the data was; None if nothing says so.
    """
    verdicts = judge_markets(findings)
    return {
        "kind": kind,
        "drifted": any(v.severity == "critical" for v in verdicts.values()),
        "severity": max((v.severity for v in verdicts.values()), key=SEVERITIES.index, default="none"),
        "expected": config.expects_drift,
        "simulated": simulated,
        "windows": windows,
        "tests": sum(f.tested for f in findings),
        "false_discovery_rate": config.false_discovery_rate,
        "markets": {market: asdict(verdict) for market, verdict in verdicts.items()},
        "untested": [
            {"market": f.market, "scope": f.scope, "column": f.column, "why": f.why} for f in findings if silent(f)
        ],
        "findings": [asdict(finding) for finding in findings],
    }


def silent(finding: Finding) -> bool:
    """Whether it says why it could not be tested."""
    return bool(finding.why) and finding.p_value is None and not finding.expected
