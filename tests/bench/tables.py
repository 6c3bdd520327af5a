"""Write the tables of README and of tests/bench/README.md from what was measured: nothing in them is typed by hand.

A table stands between `<!-- table:NAME -->` and `<!-- end -->`. Runs are recorded from their summary.json into
tests/bench/results (`make tables RUN=runs/...`), beside the measurements that `make bench` leaves there.
"""

import argparse
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.contracts.errors import BadInput
from components.contracts.tools.manifest import read_json, write_json
from tests.bench.evidence import page_tables
from tests.bench.findings import findings_table
from tests.bench.measured import RESULTS, ROOT, machine

README, PAGE = ROOT / "README.md", ROOT / "tests" / "bench" / "README.md"
_SLOT = re.compile(r"(<!-- table:(?P<name>[\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_OF_SUMMARY = ("simulated", "markets", "seconds", "stages", "peak_rss_mb", "relevance", "ranking", "oracle", "serving")


def record_run(run: Path, name: str, command: str) -> None:
    """Keep the figures of a finished run as a result.

    Raises:
        BadInput: the run's summary or its relevance model's manifest is missing.
    """
    summary = read_json(run / "summary.json")
    result = {
        "command": command,
        "machine": machine(),
        "drift": {"drifted": summary["drift"]["drifted"]} if summary["drift"] else None,
        "deltas": relevance_deltas(run),
        **{key: summary[key] for key in _OF_SUMMARY},
    }
    write_json(RESULTS / f"run-{name}.json", result)


def relevance_deltas(run: Path) -> dict[str, Any]:
    """What the mixture gains over each variant, with intervals: the relevance model's manifest alone holds it."""
    for path in sorted(run.glob("pipeline/*/*/*/manifest.json")):
        deltas: dict[str, Any] | None = read_json(path).get("metrics", {}).get("deltas")
        if deltas:
            return deltas
    raise BadInput(f"{run}: no manifest of a relevance model under pipeline/")


def render(name: str, text: str, tables: Mapping[str, str]) -> str:
    """A page with every place filled.

    Raises:
        BadInput: a place names a table that does not exist.
    """

    def fill(match: re.Match[str]) -> str:
        if match["name"] not in tables:
            raise BadInput(f"{name}: no table {match['name']} (known: {', '.join(sorted(tables))})")
        return f"{match[1]}{tables[match['name']]}\n{match[3]}"

    return _SLOT.sub(fill, text)


def rendered(page: Path) -> str:
    """README or the page of evidence as it should read."""
    tables = {"findings": findings_table()} if page == README else page_tables()
    return render(str(page.relative_to(ROOT)), page.read_text(encoding="utf-8"), tables)


def main() -> None:
    """Record a run where one is named, then write both pages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, help="folder of a finished run to record first")
    parser.add_argument("--name", default="laptop", help="name of the recorded run")
    parser.add_argument("--command", default="make run", help="what was typed to get it")
    arguments = parser.parse_args()
    if arguments.run:
        record_run(arguments.run, arguments.name, arguments.command)
    for page in (README, PAGE):
        page.write_text(rendered(page), encoding="utf-8")


if __name__ == "__main__":
    main()
