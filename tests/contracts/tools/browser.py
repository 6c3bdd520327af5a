"""Open a page in headless Chromium at a given width, and measure it."""

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

# Runs in the page, with folded tables opened, and tells the frame around it.
_PROBE = """<script>addEventListener("load", () => setTimeout(() => {
  document.querySelectorAll("details").forEach(folded => folded.open = true);
  const inBox = e => e.closest(".table") !== null && !e.matches(".table");
  const lines = cell => {
    const range = document.createRange();
    range.selectNodeContents(cell);
    const tops = [...range.getClientRects()].filter(r => r.width > 0).map(r => r.bottom).sort((a, b) => a - b);
    return tops.filter((top, i) => i === 0 || top - tops[i - 1] > 6).length;
  };
  // Labels that stand upright; of tilted ones the boxes overlap where the texts do not.
  const clash = axis => {
    const upright = [...axis.querySelectorAll("text")].filter(t => !/rotate\\((?!0)/.test(t.getAttribute("transform")));
    const boxes = upright.map(t => t.getBoundingClientRect()).sort((a, b) => a.left - b.left);
    return boxes.some((b, i) => i > 0 && b.left < boxes[i - 1].right && Math.abs(b.top - boxes[i - 1].top) < 4);
  };
  const shown = [...document.body.querySelectorAll("*")].filter(e => !inBox(e) && !e.closest("svg"));
  parent.postMessage(JSON.stringify({
    width: innerWidth,
    page: document.documentElement.scrollWidth,
    outside: shown.filter(e => e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80)),
    tall: [...document.querySelectorAll("th,td")].filter(c => lines(c) > 2).map(c => c.textContent),
    cells: document.querySelectorAll("td").length,
    figures: document.querySelectorAll(".main-svg").length,
    clashes: [...document.querySelectorAll(".xaxislayer-above")].filter(clash).length,
  }), "*");
}, 500))</script>"""


@dataclass(frozen=True)
class Layout:
    """How a page came out.

    Attributes:
        width: of the screen, CSS pixels.
        page: what the page would need without scrolling sideways.
        outside: elements that reach over the screen's edge, tables in their own box apart.
        tall: texts of table cells of more than two lines.
        cells, figures: how many there are.
        clashes: horizontal axes whose labels overlap.
    """

    width: int
    page: int
    outside: list[str]
    tall: list[str]
    cells: int
    figures: int
    clashes: int


def measure(page: Path, width: int, folder: Path) -> Layout:
    """The layout of a page on a screen of that width; skips where there is no Chromium.

    A window of Chromium is 500 pixels wide at least, so the page lies in a frame of the wanted width.
    """
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("no chromium on PATH")
    folder.mkdir(exist_ok=True)
    (folder / "page.html").write_text(page.read_text(encoding="utf-8") + _PROBE, encoding="utf-8")
    frame = folder / "frame.html"
    frame.write_text(
        f"<!doctype html><body style='margin:0'><iframe src=page.html style='border:0;width:{width}px;height:900px'>"
        "</iframe><pre id=found></pre><script>addEventListener('message', m => found.textContent = m.data)</script>",
        encoding="utf-8",
    )
    done = subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
         f"--user-data-dir={folder / 'profile'}", f"--window-size={max(width, 500)},1000",
         "--virtual-time-budget=20000", "--dump-dom", frame.as_uri()],
        check=True, capture_output=True, text=True, timeout=180,
    )  # fmt: skip
    found = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found and found[1], f"the page did not answer: {done.stderr[-2000:]}"
    text = found[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    return Layout(**json.loads(text))
