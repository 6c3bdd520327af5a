"""Tables on drift verdicts: false alarms, changes found, incidents; beside Evidently's defaults."""

from collections.abc import Mapping

from tests.bench.cells import table
from tests.bench.measured import Result


def drift_alarms(result: Result) -> str:
    """A row per kind of run in which nothing moved."""
    quiet = {f"random halves, {name}": row for name, row in result["halves"].items()}
    rows = [
        _alarms(name, row) for name, row in (quiet | {"simulated logs, first and last days": result["logs"]}).items()
    ]
    halves = result["halves"].values()
    total = {
        key: sum(row[key] for row in halves) for key in ("runs", "warning", "critical", "evidently_runs", "evidently")
    }
    rows.insert(len(quiet), _alarms("random halves, all", total))
    header = ["nothing moved", "runs", "warning", "critical", "Evidently: some column drifted"]
    return f"{table(header, rows)}\n\n{_source(result)}"


def _alarms(name: str, row: Mapping[str, int]) -> list[str]:
    theirs = f"{row['evidently']} of {row['evidently_runs']}" if "evidently" in row else "not run"
    return [name, str(row["runs"]), str(row["warning"]), str(row["critical"]), theirs]


def drift_changes(result: Result) -> str:
    """A row per change of known size in a made-up table."""
    sizes = list(next(iter(result["changes"].values())))
    whose = {"ours": "ours", "evidently": "Evidently", "evidently_unmoved": "Evidently, unmoved"}
    header = ["change", *(f"{int(rows):,} rows: {words}" for rows in sizes for words in whose.values())]
    rows = [
        [name, *(f"{row[n][which]} of {row[n]['trials']}" for n in sizes for which in whose)]
        for name, row in result["changes"].items()
    ]
    return f"{table(header, rows)}\n\n{_source(result)}"


def drift_incidents(result: Result) -> str:
    """A row per incident."""
    return f"{table(['incident', 'level'], result['incidents'].items(), texts=2)}\n\n{_source(result)}"


def drift_speed(result: Result) -> str:
    """A row per size of table: what its comparison costs, and what it should at most."""
    header = ["rows and columns of each table", "CPU seconds", "at most", "peak MiB", "at most", "load average"]
    rows = [
        [
            f"{case['rows']:,} x {case['columns']}, {case['format']}",
            *(f"{case[what][key]:,}" for key in ("cpu_seconds", "peak_rss_mb") for what in ("figure", "target")),
            str(case["load_average"]),
        ]
        for case in result["cases"]
    ]
    return f"{table(header, rows)}\n\n{_source(result)}"


def _source(result: Result) -> str:
    return f"`{result['command']}` on {result['machine']}."
