"""The drift page for people: a sentence a market on what moved and what to do, the largest moves as pictures, then all
of it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from components.contracts.tools.bars import Bars
from components.contracts.tools.report import Section, Table, write_report
from components.monitoring.config import MonitoringConfig
from components.monitoring.distributions import Distribution
from components.monitoring.findings import (
    EVERY_COLUMN,
    EVERY_MARKET,
    Finding,
    critical_psi,
    seriousness,
    silent,
    statement,
    verdict_word,
)
from components.monitoring.names import plain_name
from components.monitoring.wording import spell_share

_PICTURES = 5
_SAID = 3  # findings of a market in its sentence
_TO_DO = {
    "schema": "check the export's columns",
    "rows": "check that the log is complete",
    "market": "collect more rows",
    "missing": "check the import",
    "feature": "check the import, then the catalogue",
    "label": "check how labels are made before training on them",
    "prediction": "look at the inputs above, then compare the model with its predecessor",
    "errors": "look at the server's log and its dashboards",
    "embedding": "look at what is new among the texts",
}


def write_page(
    path: Path,
    summary: Mapping[str, Any],
    findings: Sequence[Finding],
    distributions: Mapping[tuple[str, str, str, str], Distribution],
    evidently: Mapping[str, Path],
    config: MonitoringConfig,
) -> None:
    """Write the page of a drift.json content.

    Args:
        path: of the page.
        summary: `findings.summarise`.
        findings: all of them.
        distributions: behind them, by their key.
        evidently: market -> Evidently's page, in the same folder.
        config: the stage's, for the thresholds.
    """
    ordered = sorted(findings, key=seriousness, reverse=True)
    serious = [f for f in ordered if f.serious]
    sections = [Section("What moved, and what to do", _levels(summary)), *_verdicts(summary, serious, evidently)]
    pictures = [_picture(f, distributions[f.key], config) for f in _largest(serious) if f.key in distributions]
    if pictures:
        sections.append(Section("Largest moves", "Share of rows, before and now.", bars=pictures[:_PICTURES]))
    noted = [f for f in ordered if f.severity == "info" and f.p_value is not None]
    for title, text, shown in (
        ("All warnings and critical findings", "", serious),
        ("Moved, not judged", "Too small to matter, or expected to move.", noted),
    ):
        if shown:
            sections.append(Section(title, text, tables=[_table(shown, config)]))
    if untested := [f for f in findings if silent(f)]:
        text = "Too few rows or users to test these: each is an open question."
        sections.append(Section("Not tested", text, tables=[_untested(untested)]))
    tested = [f for f in ordered if f.tested]
    sections.append(Section("All tested columns", _reading(config), tables=[_table(tested, config)]))
    write_report(path, _title(summary), _note(summary), sections)


def _reading(config: MonitoringConfig) -> str:
    return (
        "Moved: share of rows in another bin or category now, "
        f"a warning from {spell_share(config.min_moved_share)}; for an embedding, a classifier's AUC, where 0.5 is no "
        f"move, a warning from {config.embedding_threshold}. Chance: how often a column that stays as it is would look "
        f"like this, adjusted for the number of tests; a move is believed up to {config.false_discovery_rate}. PSI: "
        "population stability index, and from where a move is critical. Finds: the smallest change that this many rows "
        "find four times in five, in standard deviations (sd) of a number or in points of a share. Windows: how many "
        "windows like this to pool until a change worth finding is found. In a row: windows with this warning, "
        f"critical from {config.critical_in_a_row}."
    )


def _title(summary: Mapping[str, Any]) -> str:
    words = {
        "critical": "Drift: critical",
        "warning": "Warnings: some columns moved",
        "info": "No move that matters",
        "none": "No move found",
    }
    if summary["drifted"]:
        return words["critical"] + (", as the profile expects" if summary["expected"] else "")
    return words[summary["severity"]] + (", though the profile expects drift" if summary["expected"] else "")


def _note(summary: Mapping[str, Any]) -> str:
    data = {True: "Simulated data. ", False: "Logged data. ", None: ""}[summary["simulated"]]
    windows = "; ".join(f"{name}: {value}" for name, value in summary["windows"].items())
    return f"{data}Compared: {windows}."


def _levels(summary: Mapping[str, Any]) -> str:
    return (
        "Critical fails the gate; a warning is for someone to look at. "
        f"{summary['tests']:,} tests were made; where nothing moved, the chance of any warning by accident is "
        f"{summary['false_discovery_rate']:.0%} in all."
    )


def _verdicts(summary: Mapping[str, Any], serious: Sequence[Finding], evidently: Mapping[str, Path]) -> list[Section]:
    """A heading and a sentence for each market where something moved, one for all the others together."""
    sections, quiet = [], []
    for market, verdict in summary["markets"].items():
        own = [f for f in serious if f.market == market]
        if not own:
            quiet.append(f"{_market(market)} ({verdict['tested']} columns tested)")
            continue
        more = f", and {len(own) - _SAID} more below" if len(own) > _SAID else ""
        to_do = "; ".join(dict.fromkeys(_TO_DO[f.scope] for f in own[:_SAID]))
        said = f"{'; '.join(map(_said, own[:_SAID]))}{more}. What to do: {to_do}."
        links = {"Evidently's page": evidently[market].name} if market in evidently else {}
        sections.append(Section(f"{_market(market)}: {verdict_word(verdict)}", said, links=links))
    if quiet:
        sections.append(Section("Nothing that matters moved", ", ".join(quiet) + "."))
    return sections


def _said(finding: Finding) -> str:
    name = "" if finding.column == EVERY_COLUMN else f"{plain_name(finding.column, finding.table)}: "
    return name + statement(finding).replace("->", "→")  # a line may break within the first


def _market(market: str) -> str:
    return "all together" if market == EVERY_MARKET else market


def _largest(findings: Sequence[Finding]) -> list[Finding]:
    """Each column once: in the market where it moved most, not in all of them together where it can be helped."""
    by_market = sorted(findings, key=lambda f: f.market == EVERY_MARKET)
    once: dict[tuple[str, str], Finding] = {}
    for finding in by_market:
        once.setdefault((finding.table, finding.column), finding)
    return sorted(once.values(), key=seriousness, reverse=True)


def _picture(finding: Finding, distribution: Distribution, config: MonitoringConfig) -> Bars:
    score = (
        f"; PSI {finding.psi:.2g}, critical from {critical_psi(finding, config):g}" if finding.psi is not None else ""
    )
    title = f"{_market(finding.market)}, {_said(finding)}{score}"
    return Bars(title, distribution.labels, *(shares.tolist() for shares in distribution.shares()))


def _table(findings: Sequence[Finding], config: MonitoringConfig) -> Table:
    rows = [
        {
            "market": _market(f.market),
            "column": plain_name(f.column, f.table),
            "level": f.severity if f.severity != "none" else None,
            "what": ", ".join(part for part in (f.what, f.broken, f.why) if part).replace("->", "→"),
            "moved": None if f.size is None else f"{f.size:.2f}" if f.scope == "embedding" else spell_share(f.size),
            "warning from": _warns_from(f, config),
            "chance": f.adjusted,
            "PSI": f.psi,
            "critical from": None if f.psi is None else critical_psi(f, config),
            "finds": _smallest(f),
            "windows": f.windows_needed if f.windows_needed > 1 else None,
            "in a row": f.in_a_row or None,
            "rows before": f.rows_reference,
            "rows now": f.rows_current,
        }
        for f in findings
    ]
    return Table(pd.DataFrame(rows).dropna(axis="columns", how="all"))


def _untested(findings: Sequence[Finding]) -> Table:
    rows = [{"market": _market(f.market), "column": plain_name(f.column, f.table), "why": f.why} for f in findings]
    return Table(pd.DataFrame(rows))


def _warns_from(finding: Finding, config: MonitoringConfig) -> str | None:
    if finding.size is None:
        return None
    limit = config.embedding_threshold if finding.scope == "embedding" else config.min_moved_share
    return f"{limit:.2f}" if finding.scope == "embedding" else spell_share(limit)


def _smallest(finding: Finding) -> str | None:
    if finding.smallest is None:
        return None
    return f"{finding.smallest:.2f} sd" if finding.unit == "sd" else f"{finding.smallest * 100:.1f} points"
