"""Logging and progress: rich on a terminal, plain lines elsewhere."""

import logging
import os
import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

# Libraries that tell every step they take.
_NOISY = ("httpx", "urllib3", "feast", "torch.onnx", "onnxscript", "bm25s")


def get_logger(name: str) -> logging.Logger:
    """The logger of a module, which asks for `_logger = get_logger(__name__)`; it writes through the root's handler."""
    return logging.getLogger(name)


_logger = get_logger(__name__)


def configure(level: str | None = None) -> None:
    """Set the root handler: rich on a terminal, plain lines elsewhere (level: ARCHIPELAGO_LOG or INFO)."""
    chosen = level or os.environ.get("ARCHIPELAGO_LOG", "INFO")
    if sys.stderr.isatty():
        from rich.logging import RichHandler

        logging.basicConfig(level=chosen, format="%(message)s", handlers=[RichHandler(show_path=False)], force=True)
    else:
        logging.basicConfig(level=chosen, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", force=True)
    # On the handler: a library that sets its own logger's level when it is imported would undo a level set here.
    for handler in logging.getLogger().handlers:
        handler.addFilter(_is_worth_reading)


def _is_worth_reading(record: logging.LogRecord) -> bool:
    """Libraries' warnings, and everything of our own."""
    return record.levelno >= logging.WARNING or not record.name.startswith(_NOISY)


def track(items: Iterable[T], description: str, total: int) -> Iterator[T]:
    """Iterate with progress: a rich bar on a terminal, a plain line about every tenth of the way elsewhere."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import track as rich_track

        yield from rich_track(items, description=description, total=total, console=Console(stderr=True))
        return
    step = max(1, total // 10)
    for done, item in enumerate(items, start=1):
        yield item
        if done % step == 0 or done == total:
            _logger.info("%s: %d/%d", description, done, total)
