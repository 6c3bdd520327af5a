"""What `archipelago serve` serves on this machine: a note per server, so that other commands need not be told."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from components.contracts.errors import BadInput
from components.contracts.tools.cache import cache_folder
from components.contracts.tools.manifest import read_json, write_json


@contextmanager
def announced(**facts: Any) -> Iterator[None]:
    """Leave a note while the context lasts; notes of other servers stay as they are."""
    note = _folder() / f"{os.getpid()}.json"
    write_json(note, facts)
    try:
        yield
    finally:
        note.unlink(missing_ok=True)


def running() -> dict[str, Any]:
    """The facts of the server that started last, of those that run.

    Raises:
        BadInput: none does.
    """
    notes = sorted(_folder().glob("*.json"), key=lambda note: note.stat().st_mtime)
    for note in reversed(notes):
        with suppress(ProcessLookupError):
            os.kill(int(note.stem), 0)
            return read_json(note)
        note.unlink(missing_ok=True)  # of one that was killed
    raise BadInput("nothing is being served here: start `archipelago serve RELEASE`, or name --release and --url")


def _folder() -> Path:
    folder = cache_folder() / "serving"
    folder.mkdir(exist_ok=True)
    return folder
