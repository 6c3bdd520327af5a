"""Flags of what is observed, and what they open."""

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from serving.observe import tracing
from serving.observe.boundary import EVENTS_MODEL
from serving.observe.observer import Observer
from serving.observe.pseudonym import KEY_VARIABLE, Pseudonyms, read_key
from serving.observe.serving_log import ServingLog
from serving.release import Release


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the flags; without them requests are counted, and neither logged nor traced."""
    # Not `--log`: KServe parses the command line, too, and takes that for its own --log_config_file.
    parser.add_argument("--log_folder", type=Path, help="where the serving log is written (default: no log)")
    parser.add_argument(
        "--log_key_file", type=Path, help=f"file of the key of users' pseudonyms (default: variable {KEY_VARIABLE})"
    )
    parser.add_argument("--log_limit_mb", type=_megabytes, default=1024, help="bound of that folder (default: 1024)")
    parser.add_argument("--log_queries", action="store_true", help="put queries into the request lines, too")
    parser.add_argument("--traces", help="OTLP/HTTP collector of traces, e.g. http://127.0.0.1:4318 (default: none)")


def _megabytes(text: str) -> int:
    if (number := int(text)) < 1:
        raise ValueError(f"{number}: expected 1 or more")
    return number


@contextmanager
def observing(
    args: argparse.Namespace, release: Release, features_as_of: Callable[[], datetime] | None
) -> Iterator[Observer]:
    """What the flags ask for, until the server has stopped; then what is left is written and sent.

    Args:
        args: the flags.
        release: what is served.
        features_as_of: says as of which instant the features hold that are read now, if any are.

    Raises:
        BadInput: a log without a key, or traces without their packages.
    """
    log = None
    if args.log_folder:
        pseudonyms = Pseudonyms(read_key(args.log_key_file))
        log = ServingLog(args.log_folder, release.name, pseudonyms, args.log_limit_mb << 20, args.log_queries)
    if args.traces:
        tracing.start(args.traces, release.name)
    models = ["relevance", *(["search", EVENTS_MODEL] if release.has_search else [])]
    try:
        yield Observer(models, release.experts, log, features_as_of)
    finally:
        if log:
            log.close()
        tracing.stop()
