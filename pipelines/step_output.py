"""What a person sees of a run while it goes on: each step in plain words, its messages, its progress.

KFP's own lines, and those of libraries, are in the log file alone.
"""

import io
import re
import sys
import time
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

# Step -> what it does.
STEPS = {
    "simulate": "simulate a marketplace: items, shoppers, what they search, click and buy, and judged pairs",
    "find-champion": "look which release is served",
    "find-data": "look which version of your files is there",
    "load": "check your files and load them",
    "encode": "turn every pair of query and title into vectors, with each expert",
    "train-relevance": "learn which experts a query asks, and how their vectors together tell relevance",
    "score-relevance": "score the relevance of every encoded pair of query and item",
    "build-samples": "make training samples from all that shoppers did, beyond what search showed them (ES3)",
    "score-samples": "score the relevance of the pairs that these samples add",
    "build-features": "compute what was known of each user, item and query, day by day",
    "join-features": "give every sample the features that were known at its time",
    "train-ranker": "learn to predict clicks and purchases: a baseline (DLRM) and HHSFT, on both kinds of samples",
    "measure-drift": "compare the latest data with earlier data",
    "gate": "decide whether models and data are good enough for a release",
    "build-release": "export the models, compare them with the originals, and put together what serving needs",
    "deploy-release": "bring the release to its service",
    "register-release": "note the release in the Model Registry",
    "find-scores": "take relevance scores from where they lie",
    "materialise-features": "write what is newer to a served release's online store",
    "find-shards": "list the files of pairs that are to be scored",
    "publish-scores": "score a file of pairs and put it where the scores are kept",
    "notify-refusal": "say why there is no release",
    "notify-end": "say how the run ended",
}

_EVERY_S = 10.0  # between two lines of progress where there is no terminal
# What KFP's executor says about itself, and Feast about its registry; the rest is worth a person's time.
_CHATTER = re.compile(
    r"Looking for component|Loading KFP component|Got executor_input|Wrote executor output|Registry (cache|file)"
)
_MESSAGE = re.compile(r"^\s*\[KFP Executor [\d-]+ [\d:]+,\d+ \w+\]: (.*)$")
_PROGRESS = re.compile(r"^(.+): (\d+)/(\d+)$")  # as contracts.tools.log.track writes it
# KFP colours a task's name.
_STARTS = re.compile(r"Executing task \S*?'([\w-]+)'")
_ENDS = re.compile(r"Task \S*?'([\w-]+)'\S* finished with status \S*?(SUCCESS|FAILURE)")


class StepOutput(io.TextIOBase):
    """Takes KFP's standard output: all of it goes to the log file, what a person wants to read to stderr.

    Progress is a bar on a terminal and a line every ten seconds elsewhere.

    Attributes:
        seconds: step -> wall seconds, in the order they ran.
    """

    def __init__(self, log: io.TextIOBase, steps: int) -> None:
        self.seconds: dict[str, float] = {}
        self._log = log
        self._steps = steps
        self._buffer = ""
        self._started = 0.0
        self._told = 0.0
        self._bar: Progress | None = None

    def write(self, text: str) -> int:
        """Take a piece of the output; what it says is shown line by line."""
        self._log.write(text)
        self._buffer += text
        *lines, self._buffer = self._buffer.split("\n")
        for line in lines:
            self._read(line)
        return len(text)

    def __exit__(self, *_: object) -> None:
        self._stop_bar()

    def __enter__(self) -> Self:
        return self

    def _read(self, line: str) -> None:
        if match := _STARTS.search(line):
            self._started = self._told = time.perf_counter()
            step = match[1]
            self._say(f"[{len(self.seconds) + 1}/{self._steps}] {step}: {STEPS.get(step, 'runs')}")
        elif match := _ENDS.search(line):
            self._stop_bar()
            self.seconds[match[1]] = round(time.perf_counter() - self._started, 2)
            done = "done in" if match[2] == "SUCCESS" else "stopped after"
            self._say(f"      {done} {self.seconds[match[1]]:.1f} s")
        elif (match := _MESSAGE.match(line)) and not _CHATTER.search(line):
            if progress := _PROGRESS.match(match[1]):
                self._show_progress(progress[1], int(progress[2]), int(progress[3]))
            else:
                self._say(f"      {match[1]}")

    def _show_progress(self, what: str, done: int, total: int) -> None:
        if sys.stderr.isatty():
            bar = self._bar or self._start_bar()
            bar.update(bar.task_ids[0], description=what, completed=done, total=total)
        elif time.perf_counter() - self._told >= _EVERY_S:
            self._told = time.perf_counter()
            self._say(f"      {what}: {done / total:.0%}")

    def _start_bar(self) -> Progress:
        columns = (TextColumn("               {task.description}"), BarColumn(), TimeElapsedColumn())
        # It would redirect stdout, which is this object, to the terminal.
        self._bar = Progress(
            *columns, console=Console(stderr=True), transient=True, redirect_stdout=False, redirect_stderr=False
        )
        self._bar.add_task("")
        self._bar.start()
        return self._bar

    def _stop_bar(self) -> None:
        if self._bar:
            self._bar.stop()
            self._bar = None

    def _say(self, message: str) -> None:
        # KFP takes the root logger over while a pipeline runs; stderr stays ours.
        line = f"{time.strftime('%H:%M:%S')} {message}"
        if self._bar:
            self._bar.console.print(line, markup=False, highlight=False)
        else:
            sys.stderr.write(f"{line}\n")
