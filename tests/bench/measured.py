"""What was measured: JSON files in tests/bench/results, and the machine that measured."""

import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from components.contracts.tools.manifest import read_json

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "tests" / "bench" / "results"
Result: TypeAlias = Mapping[str, Any]


def measured(name: str) -> Result:
    """The result of that name; `BadInput` names the file where it is absent or broken."""
    result: Result = read_json(RESULTS / f"{name}.json")
    return result


def machine() -> str:
    """This machine, as far as the process may use it, in words."""
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0))
    return f"{cores} {platform.machine()} cores, {memory_gb:.0f} GiB, Python {platform.python_version()}"


def source(result: Result) -> str:
    """What kind of data a result is of, and the command and machine that gave it."""
    world = "Simulated data" if result["simulated"] else "Real judgments"
    used = result["machine"]
    if not isinstance(used, str):
        used = f"one {used['gpu']}, {used['cores']} cores, PyTorch {used['torch']}"
    return f"{world}; `{result['command']}` on {used}."


def sources(results: Mapping[str, Result]) -> str:
    """The same of several results, one line each."""
    return "\n".join(f"- {name}: {source(result)}" for name, result in results.items())
