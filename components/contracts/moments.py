"""Instants that people and schedulers name, as UTC."""

from contextlib import suppress
from datetime import UTC, datetime

from components.contracts.casting import to_utc
from components.contracts.errors import BadInput


def parse_moment(text: str, name: str) -> datetime:
    """An ISO 8601 instant as UTC, a naive one taken as UTC; BadInput that says what `name` should have been."""
    try:
        return to_utc(datetime.fromisoformat(text))
    except ValueError as error:
        raise BadInput(f"{name} {text!r}: not an ISO 8601 instant such as 2026-01-31T00:00:00Z") from error


def moment_of_run(as_of: str = "", scheduled: str = "") -> datetime:
    """What counts as now in a run: `as_of`; where it is empty, when the run was scheduled; else this moment.

    Not every server of Kubeflow Pipelines puts a time in the place of its variable: what is no time is passed over.

    Raises:
        BadInput: `as_of` is no instant.
    """
    if as_of:
        return parse_moment(as_of, "as_of")
    with suppress(ValueError):
        return to_utc(datetime.fromisoformat(scheduled))
    return datetime.now(UTC)
