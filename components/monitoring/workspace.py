"""Evidently's UI over the comparisons of a folder: a project a market, each run's report, and trends over all runs.

A workspace holds what comparisons left (`evidently_report.SNAPSHOTS`): figures and counts, no rows.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.contracts.errors import BadInput
from components.contracts.tools.log import get_logger
from components.contracts.tools.manifest import read_json, read_manifest, write_json
from components.monitoring.drift import DRIFT
from components.monitoring.evidently_report import snapshot_path
from components.monitoring.findings import EVERY_MARKET
from components.monitoring.names import plain_name

if TYPE_CHECKING:
    from evidently.sdk.models import DashboardModel
    from evidently.ui.workspace import Project, Workspace

HOST = "127.0.0.1"
_ADDED = "added.json"  # what the workspace holds already: market -> digests of comparisons
_LINES = 8
_OUTCOMES = ("label", "prediction", "errors")

_logger = get_logger(__name__)


def add_runs(runs: Path, workspace: Path) -> int:
    """Add every comparison below a folder that the workspace does not hold yet; how many those are.

    Raises:
        BadInput: there is no comparison below the folder.
    """
    found = sorted((path.parent for path in runs.rglob(DRIFT)), key=lambda folder: (folder / DRIFT).stat().st_mtime)
    if not found:
        raise BadInput(f"{runs}: no {DRIFT} below it: a run or `archipelago drift` writes one")
    os.environ.setdefault("DO_NOT_TRACK", "1")  # Evidently sends telemetry otherwise
    from evidently.core.report import Snapshot
    from evidently.ui.workspace import Workspace

    opened, new = Workspace.create(str(workspace)), set()
    added = read_json(workspace / _ADDED) if (workspace / _ADDED).is_file() else {}
    comparisons: dict[str, list[dict[str, Any]]] = {}
    for folder in found:
        drift, digest = read_json(folder / DRIFT), read_manifest(folder)["digest"]
        for market in drift["markets"]:
            snapshot = snapshot_path(folder, market)
            if not snapshot.is_file():  # nothing of it could be measured
                continue
            comparisons.setdefault(market, []).append(drift)
            if digest not in added.setdefault(market, []):
                name = f"{folder.relative_to(runs.parent)}: {drift['markets'][market]['severity']}"
                project = _project(opened, market)
                opened.add_run(project.id, Snapshot.load(snapshot), include_data=False, name=name)
                added[market].append(digest)
                write_json(workspace / _ADDED, added)  # at once: whoever is stopped here adds none twice
                new.add(folder)
    for market, drifts in comparisons.items():
        opened.save_dashboard(_project(opened, market).id, _dashboard(market, drifts))
    _logger.info("workspace %s: %d comparisons added, %d in all", workspace, len(new), len(found))
    return len(new)


def serve_ui(workspace: Path, port: int) -> None:
    """Serve Evidently's UI of a workspace on loopback until interrupted."""
    os.environ.setdefault("DO_NOT_TRACK", "1")
    from evidently.ui.service.app import run_local

    run_local(host=HOST, port=port, workspace=str(workspace))


def _project(workspace: "Workspace", market: str) -> "Project":
    name = "all markets together" if market == EVERY_MARKET else market
    found = [project for project in workspace.search_project(name) if project.name == name]
    return found[0] if found else workspace.create_project(name, "What moved, comparison by comparison.")


def _dashboard(market: str, drifts: Iterable[dict[str, Any]]) -> "DashboardModel":
    """Trends of a market: its labels and predictions, and the features that moved most in any comparison."""
    from evidently.sdk.models import DashboardModel, DashboardTabModel, PanelMetric
    from evidently.sdk.panels import line_plot_panel

    largest: dict[bool, dict[tuple[str, str], float]] = {True: {}, False: {}}
    for finding in (f for drift in drifts for f in drift["findings"] if f["market"] == market and f["p_value"]):
        lines = largest[finding["scope"] in _OUTCOMES]
        key = finding["column"], finding["table"]
        if finding["scope"] not in ("missing", "embedding"):
            lines[key] = max(lines.get(key, 0.0), finding["size"])
    panels = [
        line_plot_panel(
            title,
            [
                PanelMetric(legend=plain_name(*key), metric="ValueDrift", metric_labels={"column": key[0]})
                for key in sorted(lines, key=lambda key: -lines[key])[:_LINES]
            ],
            "Population stability index (PSI), comparison by comparison.",
        )
        for title, lines in (
            ("Labels, predictions and errors", largest[True]),
            ("Features that moved most", largest[False]),
        )
        if lines
    ]
    return DashboardModel(tabs=[DashboardTabModel(title="Trends", panels=[p.id for p in panels])], panels=panels)
