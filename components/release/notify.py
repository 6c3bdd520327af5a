"""Tell people how a run ended: in the step's log, and to a webhook where the environment names one."""

import json
import os
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from components.contracts.errors import ArchipelagoError, BadInput
from components.contracts.tools.log import get_logger
from components.contracts.tools.manifest import read_json
from components.release.gate import VERDICT

# An address of this kind is a password to a channel: a variable, from a Secret, and never a parameter of a run.
WEBHOOK = "ARCHIPELAGO_WEBHOOK"
_TIMEOUT_S = 15

_logger = get_logger(__name__)


class NotTold(ArchipelagoError):
    """The webhook did not take the message."""


def tell_end(run: str, state: str, error: str | None) -> None:
    """Tell that a run ended, and why where it failed.

    Args:
        run: its name.
        state: SUCCEEDED, FAILED or CANCELLED, as Kubeflow Pipelines says it.
        error: what went wrong, if anything.

    Raises:
        BadInput, NotTold: the webhook is no address, or did not take the message.
    """
    _tell(f"{run}: {state.lower()}{f': {error}' if error else ''}", run, state)


def tell_refusal(run: str, verdict: Path) -> None:
    """Tell that the quality gate refused a run's release, with every check that failed; errors as `tell_end`."""
    failed = [check["why"] for check in read_json(verdict / VERDICT)["checks"] if not check["passed"]]
    _tell(f"{run}: the quality gate refused the release: {'; '.join(failed)}", run, "REFUSED")


def _tell(text: str, run: str, state: str) -> None:
    """Log a sentence and post it as JSON (`text`, `run`, `state`): chat servers show `text`."""
    _logger.info("%s", text)
    if not (url := os.environ.get(WEBHOOK)):
        return
    address = urlsplit(url)
    if address.scheme not in ("http", "https") or not address.hostname:
        raise BadInput(f"{WEBHOOK}: not an address that begins with https:// or http://")
    body = json.dumps({"text": text, "run": run, "state": state}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310  # checked above
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S):  # noqa: S310
            pass
    except (urllib.error.URLError, OSError) as error:
        # Its reason names no path of the address.
        why = getattr(error, "reason", error)
        raise NotTold(f"the webhook at {address.hostname} did not take the message: {why}") from None
