"""HTML pages for people: headings, text, links, tables, bars and plotly figures in one self-contained file.

How a page looks is decided here, once:
- numbers stand on the right with three significant digits, text on the left (`cells`);
- a cell has two lines at most: a column of text is at least as wide as that needs;
- a table of more than twelve rows is folded, and one that is too wide scrolls in its own box;
- the figures of a section stand side by side where the screen is wide enough, their legends below;
- the same content gives the same bytes: a page is part of its stage's digest.
"""

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs
from rich.cells import cell_len

from components.contracts.tools.bars import STYLE as _BARS_STYLE
from components.contracts.tools.bars import Bars, html_bars
from components.contracts.tools.cells import Estimate, Unit, interval, is_number, spell

_FOLDED_ROWS = 12
_FIGURE_PIXELS = 340
_SHORT = 16  # columns of text
_TAG = re.compile("<(?!br>)")
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:1120px;margin:2rem auto;padding:0 1rem;color:#1c2733;
overflow-wrap:break-word}
h1{font-size:1.6rem}h2{font-size:1.2rem;margin-top:2.2rem;border-bottom:1px solid #dde3ea;padding-bottom:.3rem}
h3{font-size:1rem;margin:.6rem 0 0}p.note{color:#5a6a7a}
.table,pre{overflow-x:auto}.table{margin:1rem 0}table{border-collapse:collapse}
th,td{padding:.3rem .55rem;text-align:left;border-bottom:1px solid #e6ebf0;line-height:1.35}
th{background:#f4f7fa;vertical-align:bottom}.n{text-align:right}
td.n{white-space:nowrap;font-variant-numeric:tabular-nums}
small{color:#5a6a7a}summary{cursor:pointer;color:#24598f}
/* auto-fill, as plotly measures a column while the later ones are not there yet */
.figures{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,440px),1fr));gap:1rem}.figures>div{min-width:0}
"""


@dataclass(frozen=True)
class Table:
    """A table of a report.

    Attributes:
        frame: its columns and rows; a cell may be an `Estimate`. Underscores in a column's name become spaces.
        units: column -> what its numbers are, where they are no plain numbers.
    """

    frame: pd.DataFrame
    units: Mapping[str, Unit] = field(default_factory=dict)


@dataclass(frozen=True)
class Section:
    """A part of a report: a heading, a paragraph on how to read it, links (text -> address), tables, bars, figures."""

    title: str
    text: str = ""
    tables: Sequence[Table] = ()
    figures: Sequence[go.Figure] = ()
    bars: Sequence[Bars] = ()
    links: Mapping[str, str] = field(default_factory=dict)


def write_report(path: Path, title: str, note: str, sections: Sequence[Section]) -> None:
    """Write one HTML file that needs no network.

    `note` stands under the title and says what the figures are measured on (simulated data says so here).
    Figures appear at their own height; a figure's title becomes a heading over it, which wraps on a narrow screen.
    """
    body = [f"<h1>{html.escape(title)}</h1><p class=note>{html.escape(note)}</p>"]
    for number, section in enumerate(sections):
        body.append(f"<h2>{html.escape(section.title)}</h2>")
        if section.text:
            body.append(f"<p>{html.escape(section.text)}</p>")
        body += [f'<p><a href="{html.escape(to)}">{html.escape(said)}</a></p>' for said, to in section.links.items()]
        body += [html_table(table) for table in section.tables]
        if section.bars:
            body.append(f"<div class=figures>{''.join(map(html_bars, section.bars))}</div>")
        if section.figures:
            figures = (_figure(figure, f"figure-{number}-{place}") for place, figure in enumerate(section.figures))
            several = " class=figures" if len(section.figures) > 1 else ""
            body.append(f"<div{several}>{''.join(figures)}</div>")
    # Its three megabytes are left out of a page without figures.
    script = f"<script>{get_plotlyjs()}</script>" if any(section.figures for section in sections) else ""
    write_page(path, title, "".join(body), script)


def write_page(path: Path, title: str, body: str, head: str = "") -> None:
    """Write a page around `body` (HTML, escaped by the caller) in the reports' style, as a whole or not at all."""
    page = (
        f"<!doctype html><html lang=en><head><meta charset=utf-8>"
        f'<meta name=viewport content="width=device-width, initial-scale=1"><title>{html.escape(title)}</title>'
        f"<style>{_STYLE}{_BARS_STYLE}</style>{head}</head><body>{body}</body></html>"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = path.with_name(f".{path.name}.tmp")
    staging.write_text(page, encoding="utf-8")
    staging.rename(path)


def html_table(table: Table) -> str:
    """The table as HTML in its own scrolling box, folded where it is long; nothing where it has no rows."""
    if table.frame.empty:
        return ""
    names = map(str, table.frame.columns)
    columns = [_Column(name, table.frame[name].tolist(), table.units.get(name, "number")) for name in names]
    head = "".join(column.head for column in columns)
    rows = ("".join(cells) for cells in zip(*(column.cells for column in columns), strict=True))
    whole = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(f'<tr>{row}</tr>' for row in rows)}</tbody></table>"
    box = f"<div class=table>{whole}</div>"
    if len(table.frame) <= _FOLDED_ROWS:
        return box
    return f"<details><summary>Show the table: {len(table.frame):,} rows</summary>{box}</details>"


class _Column:
    """The cells of one column as HTML."""

    def __init__(self, name: str, values: list[object], unit: Unit) -> None:
        known = [value for value in values if not pd.isna(value)]  # type: ignore[call-overload]
        on_the_right = bool(known) and all(map(is_number, known))
        of_class = " class=n" if on_the_right else ""
        title = name.replace("_", " ")
        width = _two_line_width(title)
        if not on_the_right:
            texts = [spell(value, unit) for value in values]
            # Short texts stay on one line.
            width = max(width, *(max(_two_line_width(text), min(cell_len(text), _SHORT)) for text in texts))
        self.head = f'<th{of_class} style="min-width:{width}ch">{html.escape(title)}</th>'
        self.cells = [f"<td{of_class}>{_cell(value, unit)}</td>" for value in values]


def _cell(value: object, unit: Unit) -> str:
    if not isinstance(value, Estimate):
        return html.escape(spell(value, unit))
    bounds = interval(value, unit)
    return spell(value.value, unit) + (f"<br><small>{bounds}</small>" if bounds else "")


def _two_line_width(text: str) -> int:
    """Width in digits that sets the text in two lines at most."""
    words = text.split()
    splits = (max(cell_len(" ".join(words[:i])), cell_len(" ".join(words[i:]))) for i in range(1, len(words) + 1))
    return min(splits, default=0)


def _figure(figure: go.Figure, name: str) -> str:
    title = figure.layout.title.text
    figure.update_layout(
        template="plotly_white",
        title=None,
        font={"family": "system-ui, sans-serif"},
        height=figure.layout.height or _FIGURE_PIXELS,
        margin={"l": 10, "r": 10, "t": 20, "b": 10},
        legend={"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0, "title": {"text": ""}},
    )
    figure.update_xaxes(automargin=True).update_yaxes(automargin=True)
    for trace in figure.data:
        trace.update({name: _labels(trace[name]) for name in ("name", "x", "y", "text") if name in trace})
    # Named, or plotly draws a random id and the page's digest changes from run to run.
    drawn = figure.to_html(
        full_html=False, include_plotlyjs=False, div_id=name, config={"displayModeBar": False, "responsive": True}
    )
    return f"<div>{f'<h3>{html.escape(title)}</h3>' if title else ''}{drawn}</div>"


def _labels(values: Any) -> Any:
    """Labels that are other people's text: plotly draws tags in them, such as links. A line break stays ours."""
    if isinstance(values, str):
        return _TAG.sub("&lt;", values)
    if values is None or np.asarray(values).dtype.kind not in "OU":
        return values
    return [_TAG.sub("&lt;", value) if isinstance(value, str) else value for value in values]
