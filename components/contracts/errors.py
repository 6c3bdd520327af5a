"""What can go wrong on purpose, and the exit code each carries to the shell."""


class ArchipelagoError(Exception):
    """Base of the errors a user is told about in one line, without a traceback."""

    exit_code = 1


class BadInput(ArchipelagoError):
    """Input that breaks a contract; the message names what and where (HTTP 400 when serving)."""

    exit_code = 2


class DriftFound(ArchipelagoError):
    """Data moved further than the profile allows."""

    exit_code = 3


class GateRefused(ArchipelagoError):
    """The quality gate refused a release; the message is its verdict."""

    exit_code = 4
