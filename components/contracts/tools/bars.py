"""Shares before and now as bars that lie: plain HTML, so that a page with them needs no drawing script.

A script is three megabytes a page, and upright bars have no room for their labels on a phone.
"""

import html
from collections.abc import Sequence
from dataclasses import dataclass

STYLE = """
.bars{margin:0;min-width:0}.bars figcaption{font-weight:600}
.bars>div{display:grid;grid-template-columns:minmax(5rem,auto) minmax(5rem,1fr) auto;gap:.25rem .6rem;
align-items:center;font-size:13px;line-height:1.25}
.bars .n{white-space:nowrap;font-variant-numeric:tabular-nums}.bars span{min-width:0;overflow-wrap:anywhere}
.bars b,.bars i{display:block;height:.7rem;min-width:1px;background:#9aa7b4}.bars b+b,.bars i+i{background:#24598f}
.bars p{margin:.2rem 0;font-size:13px}.bars i{display:inline-block;width:.7rem;margin:0 .3rem 0 .8rem}
"""


@dataclass(frozen=True)
class Bars:
    """Two shares a label, drawn below each other.

    Attributes:
        title: what is drawn.
        labels: one for each of B bins.
        before, now: share of each bin, 0 .. 1, (B,).
    """

    title: str
    labels: Sequence[str]
    before: Sequence[float]
    now: Sequence[float]


def html_bars(bars: Bars) -> str:
    """The bars, as long as their share of the longest one."""
    longest = max(*bars.before, *bars.now, 1e-12)
    rows = "".join(
        f"<span>{html.escape(label)}</span><div>{''.join(_bar(share / longest) for share in shares)}</div>"
        f"<span class=n>{'<br>'.join(map(_percent, shares))}</span>"
        for label, *shares in zip(bars.labels, bars.before, bars.now, strict=True)
    )
    legend = "<p><i style='margin-left:0'></i>before<i></i>now</p>"
    return f"<figure class=bars><figcaption>{html.escape(bars.title)}</figcaption>{legend}<div>{rows}</div></figure>"


def _bar(share: float) -> str:
    return f'<b style="width:{share:.1%}"></b>'


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if 0 < share < 0.1 else f"{100 * share:.0f} %"
