"""Drift of a run's data, of its judgments, or of any two data sets: drift.json, pages for people, Evidently's report.

Each comparison writes into its output directory:
- `drift.json`: what moved and how serious it is, every finding, and what could not be tested (`findings.summarise`);
- `drift.prom`: the same for Prometheus (`exporter`);
- `profile.json`: the current side's profile, or the log's, to compare a later one with (`profiles`);
- `reports/drift.html`: the page for people; `reports/evidently-MARKET.html`: Evidently's own, of what moved there;
- `evidently/MARKET.json`: Evidently's snapshot of all columns.

Choices (ours):

- Whether a column of a market moved: permutation tests whose unit is the user, item or query (`sign_flips`), with false
  discoveries controlled over all tests of the run (`findings`).
- How far: Evidently's population stability index over bins by the reference's quantiles (`evidently_report`).
- How serious: `findings` has the levels; only a critical finding is drift, fails the gate and exits with 3.
- Embeddings drift when a classifier tells the windows apart on users it has not seen (`embeddings`).
- Search: evaluation days against days two weeks before, exposed rows alone (`search_windows`). Judgments have no time:
  two folds of queries (`judgment_folds`). Any two data sets: `table_pairs`.
- What could not be tested is listed, never passed over.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from components.contracts.errors import BadInput
from components.contracts.releases import PROFILE
from components.contracts.tools.log import get_logger
from components.contracts.tools.manifest import (
    MANIFEST,
    file_digest,
    input_digest,
    read_json,
    read_manifest,
    stage_directory,
    tree_digest,
    write_json,
    write_manifest,
)
from components.monitoring import judgment_folds, profile_pairs, search_windows, table_pairs
from components.monitoring.columns import Measured, compare_columns
from components.monitoring.config import MonitoringConfig
from components.monitoring.embeddings import compare_vectors
from components.monitoring.evidently_report import evidently_psi, write_evidently
from components.monitoring.exporter import prometheus_text
from components.monitoring.findings import Finding, control, count_windows, moved, rate, summarise, verdict_word
from components.monitoring.page import write_page
from components.monitoring.profiles import TableProfile, profile_content

DRIFT = "drift.json"
PROMETHEUS = "drift.prom"
PAGE = "reports/drift.html"
_SAID = 3  # findings of a market in a line of the log

_logger = get_logger(__name__)


def search_drift(
    log: Path, training_set: Path, encodings: Path, ranker: Path, config: MonitoringConfig, out: Path
) -> None:
    """Compare the evaluation days with earlier training days: features, click label, predictions, embeddings.

    Raises:
        BadInput: an input lacks a file or column, or there are no evaluation rows.
    """
    windows = search_windows.read_windows(training_set, config)
    specs = search_windows.feature_specs(windows.history_days)
    compared = compare_columns(windows.reference, windows.current, specs, config, days=(1, 1))  # equally long
    predicted = compare_columns(*search_windows.read_predictions(ranker, windows), search_windows.PREDICTIONS, config)
    embedded = _compare_embeddings(encodings, windows.reference, windows.current, "user_id", config)
    _write(
        "search",
        [*compared.findings, *predicted.findings, *embedded],
        [*compared.measured, *predicted.measured],
        config,
        windows.describe(),
        read_manifest(training_set).get("simulated"),
        _digests(log=log, training_set=training_set, encodings=encodings, ranker=ranker),
        out,
        profile_pairs.profile_of(log, config),
    )


def judgment_drift(log: Path, encodings: Path, config: MonitoringConfig, out: Path) -> None:
    """Compare the folds of a log's judgments: grades, text lengths, embeddings.

    Raises:
        BadInput: an input lacks a file or column.
    """
    reference, current, described = judgment_folds.read_folds(log)
    compared = compare_columns(reference, current, judgment_folds.SPECS, config)
    embedded = _compare_embeddings(encodings, reference, current, "query_key", config)
    _write(
        "relevance",
        [*compared.findings, *embedded],
        compared.measured,
        config,
        described,
        read_manifest(log).get("simulated"),
        _digests(log=log, encodings=encodings),
        out,
        profile_pairs.profile_of(log, config),
    )


def compare(
    reference: Path,
    current: Path,
    config: MonitoringConfig,
    out: Path,
    entity: str | None = None,
    previous: Path | None = None,
) -> bool:
    """Compare two tables (files or folders of parts), or two log directories; whether anything critical was found.

    Args:
        reference: a data set, or the profile.json of one, which each comparison writes of its current side.
        current: a data set.
        config: the stage's.
        out: directory to make.
        entity: the column of two tables whose rows belong together; None: each row is independent of the others.
        previous: what the comparison of the window before wrote, to count warnings in a row.

    Raises:
        BadInput: see `table_pairs.read_pairs`, `profile_pairs.read_profile_pairs`; or `previous` has no drift.json.
    """
    before = _read_previous(previous) if previous else None
    if reference.suffix == ".json":
        pairs = profile_pairs.read_profile_pairs(reference, current, config)
    else:
        pairs = table_pairs.read_pairs(reference, current, config, entity)
    compared = compare_pairs(pairs, config)
    described = {"reference": str(reference), "current": str(current)}
    inputs = _digests(reference=reference, current=current)
    simulated = _simulated(reference, current)
    profile = profile_pairs.make_profile(pairs, table_pairs.is_log(current), config)
    return _write("compare", *compared, config, described, simulated, inputs, out, profile, before)


def compare_pairs(
    pairs: Sequence[table_pairs.TablePair], config: MonitoringConfig
) -> tuple[list[Finding], list[Measured]]:
    """All findings of pairs of tables, not yet rated, and the distributions behind them."""
    findings: list[Finding] = []
    measured: list[Measured] = []
    for pair in pairs:
        compared = compare_columns(pair.reference, pair.current, pair.specs, config, pair.days, pair.rows)
        findings += [_of_table(pair.name, f) for f in (*pair.facts, *compared.findings)]
        measured += [replace(m, finding=_of_table(pair.name, m.finding)) for m in compared.measured]
    return findings, measured


def rate_all(
    findings: Sequence[Finding],
    measured: Sequence[Measured],
    config: MonitoringConfig,
    previous: dict[str, Any] | None = None,
) -> list[Finding]:
    """The findings controlled over the run and rated, by Evidently's figure of how far each of those that moved did.

    Args:
        findings, measured: of the whole run.
        config: the stage's.
        previous: drift.json of the window before, if any.
    """
    controlled = {f.key: f for f in control(findings, config)}
    shown = [m for m in measured if moved(controlled[m.finding.key], config)]
    for measure, psi in zip(shown, evidently_psi(shown, config), strict=True):
        controlled[measure.finding.key] = replace(controlled[measure.finding.key], psi=psi)
    return count_windows([rate(f, config) for f in controlled.values()], previous, config)


def _compare_embeddings(
    encodings: Path, reference: pd.DataFrame, current: pd.DataFrame, entity: str, config: MonitoringConfig
) -> list[Finding]:
    return [
        finding
        for vectors in search_windows.read_vectors(encodings, {"reference": reference, "current": current})
        for finding in compare_vectors(reference, current, vectors, entity, config)
    ]


def _read_previous(previous: Path) -> dict[str, Any]:
    if not (previous / DRIFT).is_file():
        raise BadInput(f"{previous}: no {DRIFT}: name a folder that a comparison wrote")
    return read_json(previous / DRIFT)


def _of_table(name: str, finding: Finding) -> Finding:
    return replace(finding, column=f"{name}.{finding.column}", table=name)


def _write(
    kind: str,
    findings: Sequence[Finding],
    measured: Sequence[Measured],
    config: MonitoringConfig,
    windows: dict[str, str],
    simulated: bool | None,
    inputs: dict[str, str],
    out: Path,
    profile: Mapping[str, TableProfile],
    previous: dict[str, Any] | None = None,
) -> bool:
    """Control, rate and write everything; whether there is anything critical."""
    with stage_directory(out) as root:
        findings = rate_all(findings, measured, config, previous)
        summary = summarise(kind, findings, config, windows, simulated)
        write_json(root / DRIFT, summary)
        write_json(root / PROFILE, profile_content(profile))
        (root / PROMETHEUS).write_text(prometheus_text(summary), encoding="utf-8")
        pages = write_evidently(measured, [f for f in findings if moved(f, config)], config, root)
        distributions = {m.finding.key: m.distribution for m in measured}
        write_page(root / PAGE, summary, findings, distributions, pages, config)
        write_manifest(
            root,
            "drift",
            config.model_dump(mode="json"),
            inputs,
            metrics={
                "drifted": summary["drifted"],
                "tested": sum(f.tested for f in findings),
                "critical": sum(f.severity == "critical" for f in findings),
                "warnings": sum(f.severity == "warning" for f in findings),
                "untested": len(summary["untested"]),
            },
            packages=["evidently", "scikit-learn", "scipy"],
            simulated=simulated,
        )
    for market, verdict in summary["markets"].items():
        log = _logger.info if verdict["severity"] in ("none", "info") else _logger.warning
        because = f": {'; '.join(verdict['because'][:_SAID])}" if verdict["because"] else ""
        log("drift %s: %s, %d columns tested%s", market, verdict_word(verdict), verdict["tested"], because)
    return bool(summary["drifted"])


def _digests(**inputs: Path) -> dict[str, str]:
    """Digests by name: of a file's bytes, or what a directory's manifest states, or of its files if it has none."""
    return {
        name: file_digest(path)
        if path.is_file()
        else (input_digest if (path / MANIFEST).is_file() else tree_digest)(path)
        for name, path in inputs.items()
    }


def _simulated(*sides: Path) -> bool | None:
    """Whether both sides say they are simulated or logged data; None if one says nothing or they differ."""
    said = {read_manifest(side).get("simulated") if (side / MANIFEST).is_file() else None for side in sides}
    return said.pop() if len(said) == 1 else None
