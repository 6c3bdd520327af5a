"""HTML pages for people: headings, text, tables and plotly figures in one self-contained file."""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:1080px;margin:2rem auto;padding:0 1rem;color:#1c2733}
h1{font-size:1.6rem}h2{font-size:1.2rem;margin-top:2.2rem;border-bottom:1px solid #dde3ea;padding-bottom:.3rem}
table{border-collapse:collapse;margin:1rem 0}th,td{padding:.3rem .7rem;text-align:right;border-bottom:1px solid #e6ebf0}
th:first-child,td:first-child{text-align:left}th{background:#f4f7fa}p.note{color:#5a6a7a}
"""


@dataclass(frozen=True)
class Section:
    """A part of a report: a heading, a paragraph on how to read it, then tables and figures."""

    title: str
    text: str = ""
    tables: Sequence[pd.DataFrame] = ()
    figures: Sequence[go.Figure] = ()


def write_report(path: Path, title: str, note: str, sections: Sequence[Section]) -> None:
    """Write one HTML file that needs no network.

    `note` stands under the title and says what the figures are measured on (simulated data says so here).
    Figures appear at their own height and the page's width.
    """
    body = [f"<h1>{html.escape(title)}</h1><p class=note>{html.escape(note)}</p>"]
    for number, section in enumerate(sections):
        body.append(f"<h2>{html.escape(section.title)}</h2><p>{html.escape(section.text)}</p>")
        body += [table.to_html(index=False, border=0, float_format="{:.4f}".format) for table in section.tables]
        body += [
            # Named, or plotly draws a random id and the page's digest changes from run to run.
            figure.update_layout(template="plotly_white").to_html(
                full_html=False, include_plotlyjs=False, div_id=f"figure-{number}-{place}"
            )
            for place, figure in enumerate(section.figures)
        ]
    page = (
        f"<!doctype html><html lang=en><head><meta charset=utf-8><title>{html.escape(title)}</title>"
        f"<style>{_STYLE}</style><script>{get_plotlyjs()}</script></head><body>{''.join(body)}</body></html>"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = path.with_name(f".{path.name}.tmp")
    staging.write_text(page, encoding="utf-8")
    staging.rename(path)
