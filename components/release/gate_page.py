"""The gate's page: the decision in a sentence, what it rests on, and every figure with its bound and its margin."""

import html
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from components.contracts.tools.cells import NOTHING, spell
from components.contracts.tools.report import Table, html_table, write_page
from components.release.checks import Check, Verdict

# Answers other than "passed", by what they are headed with.
NOT_HELD: dict[Verdict, str] = {"refused": "Refused", "warning": "Warnings", "not judged": "Not judged"}
_READING = (
    "A figure passes where it keeps its bound. Beyond the bound it is refused where its interval lies beyond as well, "
    "and warns where the interval reaches the bound: then these data can't tell. The margin is how far a figure keeps "
    "its bound, with the interval that decided; below 0 it is beyond. Intervals are 95 %, and wider where a market is "
    "one of several, so that all of them hold together at 95 %."
)


def write_gate_page(path: Path, checks: Sequence[Check], decision: str, previous: str, simulated: bool | None) -> None:
    """Write the page.

    Args:
        path: of the page.
        checks: what was asked, and the answers.
        decision: a sentence.
        previous: a sentence on the release before.
        simulated: whether the figures are of simulated data; None where nobody said.
    """
    refused = any(not check.passed for check in checks)
    title = "Gate refused the release" if refused else "Gate passed"
    world = {True: "Simulated data. ", False: "Logged data. ", None: ""}[simulated]
    body = [f"<h1>{title}</h1><p class=note>{html.escape(world + previous)}</p><p><b>{html.escape(decision)}</b></p>"]
    for verdict, heading in NOT_HELD.items():
        reasons = [html.escape(check.why) for check in checks if check.verdict == verdict]
        if reasons:
            body.append(f"<h2>{heading}</h2><ul>{''.join(f'<li>{reason}</li>' for reason in reasons)}</ul>")
    body += [f"<h2>Every figure</h2><p>{html.escape(_READING)}</p>", html_table(_table(checks))]
    write_page(path, title, "".join(body))


def _table(checks: Sequence[Check]) -> Table:
    rows = [
        {
            "check": check.name,
            "market": check.market,
            "answer": check.verdict,
            "figure": check.value,
            "bound": _bound(check),
            "margin": check.margin,
        }
        for check in checks
    ]
    return Table(pd.DataFrame(rows))


def _bound(check: Check) -> str:
    if check.floor is None:
        return NOTHING if check.ceiling is None else f"at most {spell(check.ceiling)}"
    return (
        f"at least {spell(check.floor)}" if check.ceiling is None else f"{spell(check.floor)} to {spell(check.ceiling)}"
    )
