"""The log of a served release, written off the requests' path: parts in the log contract's layout, and JSON lines.

A folder holds, of any number of processes:

- `part-<time>-<process>/`: requests, candidates, events and impressions of some seconds, as Parquet. A part appears
  whole, by a rename, and never changes.
- `requests-<process>.jsonl`, then `.1`, `.2`: a line per request, within a second of its answer.

Choices (ours):

- Requests leave records in a list and never wait; one thread per process writes. What exceeds the list's bound is
  dropped and counted.
- A part is closed when it is full or a minute old, and when the server stops: only a process that is killed loses its
  last minute.
- The oldest parts and lines are removed when the folder exceeds its limit; other files in it are left alone.
- A disk that cannot be written to costs the part, one line in the server's log, and nothing else.
"""

import json
import logging
import os
import re
import shutil
import threading
import time
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

import pyarrow as pa

from components.contracts.errors import BadInput
from components.contracts.tables import write_table
from components.contracts.tools.log import get_logger
from components.contracts.tools.manifest import atomic_directory
from serving.observe import metrics
from serving.observe.exchange import Exchange
from serving.observe.log_tables import Event, log_tables
from serving.observe.pseudonym import Pseudonyms

# Of a part: rows of candidates and events.
PART_ROWS = 200_000
PART_SECONDS = 60.0
_TICK_S = 1.0
_LINES_BYTES = 8 << 20
_LINES_FILES = 4
_OURS = re.compile(r"part-\d{8}T\d{6}\.\d{6}Z-\d+|requests-\d+\.jsonl(\.\d+)?")
# What a killed process left unfinished: old enough that nobody is still writing it.
_LEFT_BEHIND = re.compile(r"\.part-.*")
_LEFT_BEHIND_S = 600.0
_logger = get_logger(__name__)

Record = Exchange | Event


class _Lines(RotatingFileHandler):
    """Says once that lines cannot be written, and not for every line."""

    failed = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802  logging's name
        """Called within the handling of the error."""
        if not self.failed:
            _logger.exception("%s: lines are lost", self.baseFilename)
        self.failed = True


class ServingLog:
    """Writes what it is offered until it is closed.

    Args:
        folder: made if need be; processes may share it.
        release: name of the release that answers.
        pseudonyms: of users.
        limit_bytes: bound of the folder.
        texts: whether queries may stand in the JSON lines; the Parquet log needs them and always has them.
        part_rows, part_seconds: when a part is closed.

    Raises:
        BadInput: the folder cannot be written to.
    """

    def __init__(
        self,
        folder: Path,
        release: str,
        pseudonyms: Pseudonyms,
        limit_bytes: int,
        texts: bool = False,
        part_rows: int = PART_ROWS,
        part_seconds: float = PART_SECONDS,
    ) -> None:
        self._folder = folder.resolve()
        self._release = release
        self._pseudonyms = pseudonyms
        self._limit_bytes = limit_bytes
        self._texts = texts
        self._part_rows = part_rows
        self._part_seconds = part_seconds
        self._lines_path = self._folder / f"requests-{os.getpid()}.jsonl"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lines = _Lines(
                self._lines_path, maxBytes=_LINES_BYTES, backupCount=_LINES_FILES - 1, encoding="utf-8"
            )
        except OSError as error:
            raise BadInput(f"{folder}: cannot be written to ({error})") from error
        self._lock = threading.Lock()
        self._offered: list[Record] = []
        self._rows = 0  # offered and not yet in a part on disk
        self._wake = threading.Event()
        self._closed = False
        self._part: list[Record] = []
        self._part_since = time.monotonic()
        self._writer = threading.Thread(target=self._write, name="serving-log", daemon=True)
        self._writer.start()

    def offer(self, record: Record) -> bool:
        """Take a request that is over or an event; false, and counted, if there is no room. Never waits for a disk."""
        rows = _rows(record)
        with self._lock:
            taken = not self._closed and self._rows + rows <= 2 * self._part_rows
            if taken:
                self._offered.append(record)
                self._rows += rows
                if self._rows >= self._part_rows:
                    self._wake.set()
        if not taken:
            metrics.LOG_RECORDS.labels("dropped").inc()
        return taken

    def close(self, timeout_s: float = 30.0) -> None:
        """Write all that was offered, and stop."""
        with self._lock:
            self._closed = True
        self._wake.set()
        self._writer.join(timeout_s)

    def _write(self) -> None:
        done = False
        while not done:
            self._wake.wait(_TICK_S)
            self._wake.clear()
            with self._lock:
                done = self._closed
                records, self._offered = self._offered, []
            for record in records:
                if isinstance(record, Exchange):
                    text = json.dumps(self._line(record), ensure_ascii=True)
                    self._lines.handle(logging.makeLogRecord({"msg": text}))
                if isinstance(record, Event) or record.page is not None:
                    self._part.append(record)
                else:
                    self._free(1)
            old = time.monotonic() - self._part_since >= self._part_seconds
            rows = sum(map(_rows, self._part))
            if done or old or rows >= self._part_rows:
                self._write_part()
                self._free(rows)
        self._lines.close()

    def _free(self, rows: int) -> None:
        with self._lock:
            self._rows -= rows

    def _line(self, exchange: Exchange) -> dict[str, Any]:
        user = self._pseudonyms.of(exchange.user_id) if exchange.user_id else None
        line = {
            "time": exchange.time.isoformat(timespec="microseconds"),
            "request_id": exchange.request_id,
            "protocol": exchange.protocol,
            "model": exchange.model,
            "status": exchange.status,
            "market": exchange.market,
            "user": user,
            "items": exchange.items,
            "relevance_source": exchange.sources(),
            "latency_ms": round(1000 * exchange.seconds, 3),
            "stages_ms": {name: round(1000 * seconds, 3) for name, seconds in exchange.stages.items()},
            "release": self._release,
        }
        return line | {"query": exchange.query} if self._texts else line

    def _write_part(self) -> None:
        records, self._part, self._part_since = self._part, [], time.monotonic()
        events = [record for record in records if isinstance(record, Event)]
        searches = [record for record in records if isinstance(record, Exchange)]
        what = "written"
        try:
            tables = log_tables(searches, events, self._pseudonyms, self._release)
            if tables:
                name = f"part-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{os.getpid()}"
                with atomic_directory(self._folder / name) as part:
                    for table, content in tables.items():
                        write_table(content, part / f"{table}.parquet")
            keep_within(self._folder, self._limit_bytes, self._lines_path)
        except (OSError, pa.ArrowException) as error:
            what = "lost"
            _logger.error("%s: %d searches and %d events are lost: %s", self._folder, len(searches), len(events), error)
        metrics.LOG_RECORDS.labels(what).inc(len(searches) + len(events))


def _rows(record: Record) -> int:
    return 1 if isinstance(record, Event) or record.page is None else 1 + record.items


def keep_within(folder: Path, limit_bytes: int, but: Path) -> None:
    """Remove the oldest parts and lines of a log until it is within its limit; `but` stays, and so do others' files."""
    found = []
    for path in folder.iterdir():
        try:
            changed, size = path.stat().st_mtime, _size(path)
        except FileNotFoundError:  # another process was faster
            continue
        if _LEFT_BEHIND.fullmatch(path.name) and time.time() - changed > _LEFT_BEHIND_S:
            shutil.rmtree(path, ignore_errors=True)
        elif _OURS.fullmatch(path.name):
            found.append((changed, size, path))
    total = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if total <= limit_bytes:
            return
        if path != but:
            _remove(path)
            total -= size


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.iterdir()) if path.is_dir() else path.stat().st_size


def _remove(path: Path) -> None:
    """A reader never sees half a part: it is renamed first."""
    gone = path.with_name(f".{path.name}.removed")
    try:
        path.rename(gone)
    except FileNotFoundError:
        return
    if gone.is_dir():
        shutil.rmtree(gone, ignore_errors=True)
    else:
        gone.unlink(missing_ok=True)
