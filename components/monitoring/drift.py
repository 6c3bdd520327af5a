"""Drift of a run's data, of its judgments, or of any two data sets: drift.json, pages for people, Evidently's report.

Each comparison writes into its output directory:
- `drift.json`: what drifted, every finding, and what could not be tested (`findings.summarise`);
- `drift.prom`: the same for Prometheus (`exporter`);
- `reports/drift.html`: the page for people; `reports/evidently.html` and `evidently.json`: Evidently's own.

Choices (ours):

- Columns are compared per market by the population stability index, as Evidently computes it (`columns`).
- A column drifts when its score reaches the threshold *and* its own noise floor, which is measured by swapping users,
  items or queries between the windows (`noise`).
- A market drifts when a share of its columns does, or its predictions, or its embeddings (`findings`).
- Embeddings drift when a classifier tells the windows apart on users it has not seen (`embeddings`).
- Search: evaluation days against days two weeks before, exposed rows alone (`search_windows`). Judgments have no time:
  two folds of queries (`judgment_folds`). Any two data sets: `table_pairs`.
- What could not be tested is listed, never passed over.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from components.contracts.tools.log import get_logger
from components.contracts.tools.manifest import (
    MANIFEST,
    file_digest,
    input_digest,
    read_manifest,
    stage_directory,
    tree_digest,
    write_json,
    write_manifest,
)
from components.monitoring import judgment_folds, search_windows, table_pairs
from components.monitoring.columns import Measured, compare_columns
from components.monitoring.config import MonitoringConfig
from components.monitoring.embeddings import compare_vectors
from components.monitoring.evidently_report import evidently_scores
from components.monitoring.exporter import prometheus_text
from components.monitoring.findings import Finding, summarise, verdict_word
from components.monitoring.page import write_page

DRIFT = "drift.json"
PROMETHEUS = "drift.prom"
PAGE = "reports/drift.html"
EVIDENTLY_PAGE = "reports/evidently.html"
EVIDENTLY_JSON = "evidently.json"

_logger = get_logger(__name__)


def search_drift(training_set: Path, encodings: Path, ranker: Path, config: MonitoringConfig, out: Path) -> None:
    """Compare the evaluation days with earlier training days: features, click label, predictions, embeddings.

    Raises:
        BadInput: an input lacks a file or column, or there are no evaluation rows.
    """
    windows = search_windows.read_windows(training_set, config)
    specs = search_windows.feature_specs(windows.history_days)
    compared = compare_columns(windows.reference, windows.current, specs, config)
    predicted = compare_columns(*search_windows.read_predictions(ranker, windows), [search_windows.PREDICTION], config)
    embedded = _compare_embeddings(encodings, windows.reference, windows.current, "user_id", config)
    _write(
        "search",
        [*compared.findings, *predicted.findings, *embedded],
        [*compared.measured, *predicted.measured],
        config,
        windows.describe(),
        read_manifest(training_set).get("simulated"),
        _digests(training_set=training_set, encodings=encodings, ranker=ranker),
        out,
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
    )


def compare(reference: Path, current: Path, config: MonitoringConfig, out: Path) -> bool:
    """Compare two Parquet or CSV files, or two log directories; whether they drifted apart.

    Raises:
        BadInput: see `table_pairs.read_pairs`.
    """
    findings: list[Finding] = []
    measured: list[Measured] = []
    for pair in table_pairs.read_pairs(reference, current):
        compared = compare_columns(pair.reference, pair.current, pair.specs, config)
        findings += [_of_table(pair.name, f) for f in compared.findings]
        measured += [replace(m, finding=_of_table(pair.name, m.finding)) for m in compared.measured]
    described = {"reference": str(reference), "current": str(current)}
    inputs = _digests(reference=reference, current=current)
    return _write("compare", findings, measured, config, described, _simulated(reference, current), inputs, out)


def _compare_embeddings(
    encodings: Path, reference: pd.DataFrame, current: pd.DataFrame, entity: str, config: MonitoringConfig
) -> list[Finding]:
    return [
        finding
        for vectors in search_windows.read_vectors(encodings, {"reference": reference, "current": current})
        for finding in compare_vectors(reference, current, vectors, entity, config)
    ]


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
) -> bool:
    """Score the measured columns with Evidently, write everything, and say whether there is drift."""
    with stage_directory(out) as root:
        scores = evidently_scores(measured, config, root / EVIDENTLY_PAGE, root / EVIDENTLY_JSON)
        findings = _with_scores(findings, measured, scores)
        summary = summarise(kind, findings, config, windows, simulated)
        write_json(root / DRIFT, summary)
        (root / PROMETHEUS).write_text(prometheus_text(summary), encoding="utf-8")
        write_page(root / PAGE, summary, findings)
        write_manifest(
            root,
            "drift",
            config.model_dump(mode="json"),
            inputs,
            metrics={
                "drifted": summary["drifted"],
                "tested": sum(f.tested for f in findings),
                "drifted_findings": sum(f.drifted for f in findings),
                "untested": len(summary["untested"]),
            },
            packages=["evidently", "scikit-learn"],
            simulated=simulated,
        )
    for market, verdict in summary["shares"].items():
        _logger.info(
            "drift %s: %s, %d of %d columns%s",
            market, verdict_word(verdict), verdict["drifted_columns"], verdict["tested"],
            f" ({', '.join(verdict['because'])})" if verdict["because"] else "",
        )  # fmt: skip
    return bool(summary["drifted"])


def _with_scores(findings: Sequence[Finding], measured: Sequence[Measured], scores: Sequence[float]) -> list[Finding]:
    """The findings with Evidently's scores in place of our own, which differ by rounding at most."""
    scored = {
        (m.finding.scope, m.finding.market, m.finding.column): replace(
            m.finding, score=score, drifted=not m.finding.expected and score >= (m.finding.threshold or 0)
        )
        for m, score in zip(measured, scores, strict=True)
    }
    return [scored.get((f.scope, f.market, f.column), f) for f in findings]


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
