"""How often drift verdicts are false, and what they miss, beside Evidently's defaults.

    python -m tests.bench.bench_drift [--data DIR] [--halves N] [--logs N] [--trials N N]

Writes drift.json in tests/bench/results. DIR holds the real sets; without it the halves of real tables are left out.
Ours is the verdict of `archipelago drift` with the default configuration: found is a warning or critical. Evidently's
default is `DataDriftPreset()`: found is a column that it says drifted.
"""

import argparse
import os
import tempfile
import warnings
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from components.contracts.tools.manifest import write_json
from components.monitoring.config import MonitoringConfig
from components.monitoring.drift import compare_pairs, rate_all
from components.monitoring.findings import SEVERITIES
from components.monitoring.table_pairs import TablePair, pair_samples, read_pairs
from components.monitoring.table_sample import sample_rows
from tests.bench.drift_worlds import (
    CHANGES,
    halves,
    incidents,
    made_table,
    quiet_log,
    real_tables,
    write_log,
)
from tests.bench.measured import RESULTS, ROOT, machine

_CONFIG = MonitoringConfig()
_ROWS = (1000, 20_000)
_NOTHING = "nothing"


def verdict(pairs: Iterable[TablePair]) -> str:
    """The level of a run."""
    rated = rate_all(*compare_pairs(list(pairs), _CONFIG), _CONFIG)
    return max((f.severity for f in rated), key=SEVERITIES.index)


def frames_verdict(old: pd.DataFrame, new: pd.DataFrame) -> str:
    """The level of two frames' comparison, each row on its own."""
    tables = (pa.Table.from_pandas(frame, preserve_index=False) for frame in (old, new))
    samples = (sample_rows([table], _CONFIG.max_rows, _CONFIG.seed) for table in tables)
    return verdict([pair_samples("table", *samples)])


def evidently_drifted(old: pd.DataFrame, new: pd.DataFrame, columns: list[str] | None = None) -> int:
    """How many columns Evidently's defaults call drifted."""
    from evidently import Dataset, Report
    from evidently.metrics import DriftedColumnsCount

    sides = [Dataset.from_pandas(frame.drop(columns="Unnamed: 0", errors="ignore")) for frame in (old, new)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        snapshot = Report([DriftedColumnsCount(columns=columns)]).run(sides[1], sides[0])
    return int(snapshot.dict()["metrics"][0]["value"]["count"])


def false_alarms_on_halves(pool: Executor, data: Path, runs: int, evidently_runs: int) -> dict[str, Any]:
    """Runs with each level on random halves of real tables, and those with a drifted column of Evidently's."""
    found = {}
    for name in real_tables(data):
        halved = [(data, name, seed, seed < evidently_runs) for seed in range(runs)]
        levels, theirs = zip(*pool.map(_half, halved), strict=True)
        asked = [one for one in theirs if one is not None]
        found[name] = _levels(levels) | {"evidently_runs": len(asked), "evidently": sum(asked)}
        print(name, found[name], flush=True)
    return found


def _half(case: tuple[Path, str, int, bool]) -> tuple[str, bool | None]:
    data, name, seed, ask_evidently = case
    old, new = halves(real_tables(data)[name], seed)
    return frames_verdict(old, new), evidently_drifted(old, new) > 0 if ask_evidently else None


def false_alarms_on_logs(pool: Executor, runs: int) -> dict[str, int]:
    """Runs with each level where a simulated log that does not change is cut in the middle of its days."""
    found = _levels(list(pool.map(_quiet, range(runs))))
    print("simulated logs", found, flush=True)
    return found


def _quiet(seed: int) -> str:
    return _log_verdict(*quiet_log(seed))


def _log_verdict(before: dict[str, pa.Table], after: dict[str, pa.Table]) -> str:
    with tempfile.TemporaryDirectory() as folder:
        sides = [write_log(tables, Path(folder) / name) for name, tables in (("old", before), ("new", after))]
        return verdict(read_pairs(*sides, _CONFIG))


def _levels(levels: Sequence[str]) -> dict[str, int]:
    return {"runs": len(levels)} | {level: levels.count(level) for level in ("warning", "critical")}


def power(pool: Executor, trials: tuple[int, int]) -> dict[str, Any]:
    """Of so many trials at each number of rows, those in which each change is found, and those without any change.

    `evidently_unmoved` counts the trials in which Evidently calls the same column drifted where nothing was changed.
    """
    found: dict[str, Any] = {}
    for rows, number in zip(_ROWS, trials, strict=True):
        for name in (_NOTHING, *CHANGES):
            cases = [(rows, name, trial) for trial in range(number)]
            counts = (sum(hits) for hits in zip(*pool.map(_trial, cases), strict=True))
            counted = dict(zip(("ours", "evidently", "evidently_unmoved"), counts, strict=True))
            found.setdefault(name, {})[str(rows)] = {"trials": number} | counted
            print(rows, name, found[name][str(rows)], flush=True)
    return found


def _trial(case: tuple[int, str, int]) -> tuple[bool, bool, bool]:
    rows, name, trial = case
    column, change = CHANGES.get(name, ("", lambda frame, _: frame))
    columns = [column] if column else None
    old, unmoved = made_table(rows, 2 * trial), made_table(rows, 2 * trial + 1)
    new = change(unmoved, np.random.default_rng(trial))
    found = frames_verdict(old, new) in ("warning", "critical")
    return found, evidently_drifted(old, new, columns) > 0, evidently_drifted(old, unmoved, columns) > 0


def levels_of_incidents(data: Path | None) -> dict[str, str]:
    """The level of each incident in a simulated log, and of men against women in a real one."""
    before, after = quiet_log(0)
    found = {_NOTHING: _log_verdict(before, after)}
    found |= {name: _log_verdict(*sides) for name, sides in incidents(before, after).items()}
    if data:
        tables = real_tables(data)
        men, women = tables["Open Bandit, men"], tables["Open Bandit, women"]
        common = [column for column in men.columns if column in women.columns]
        found["Open Bandit: women after men"] = frames_verdict(men[common], women[common])
    print(found, flush=True)
    return found


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = Path(os.environ.get("ARCHIPELAGO_SHARED_DATA", ROOT.parent / "shared" / "data"))
    parser.add_argument(
        "--data", type=Path, default=shared if shared.is_dir() else None, help="folder of the real sets"
    )
    parser.add_argument("--halves", type=int, default=20, help="random halves of each real table")
    parser.add_argument("--logs", type=int, default=200, help="simulated logs")
    parser.add_argument("--trials", type=int, nargs=2, default=(100, 20), help="at 1,000 and at 20,000 rows")
    given = parser.parse_args()
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        result = {
            "command": "python -m tests.bench.bench_drift",
            "machine": machine(),
            "incidents": levels_of_incidents(given.data),
            "changes": power(pool, tuple(given.trials)),
            "halves": false_alarms_on_halves(pool, given.data, given.halves, given.halves // 4) if given.data else {},
            "logs": false_alarms_on_logs(pool, given.logs),
        }
    write_json(RESULTS / "drift.json", result)


if __name__ == "__main__":
    main()
