"""What can go wrong on purpose, and the exit code each carries to the shell."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


class ArchipelagoError(Exception):
    """Base of the errors a user is told about in one line, without a traceback."""

    exit_code = 1


@dataclass(frozen=True)
class Fault:
    """One rule that values of one place break.

    Attributes:
        where: file and column.
        problem: what is wrong.
        rows: how many values break it.
        of: how many there are.
        examples: number (the first row is 1) and value of the first of them.
    """

    where: str
    problem: str
    rows: int
    of: int
    examples: tuple[tuple[int, str], ...]

    def __str__(self) -> str:
        return f"{self.where}: {self.problem} in {self.rows} of {self.of} rows (first: {self.examples[0][1]})"


class BadInput(ArchipelagoError):
    """Input that breaks a contract; the message names what and where (HTTP 400 when serving).

    Attributes:
        faults: all that was found, each a `Fault` or a sentence; the message is the first, and how many more there are.
    """

    exit_code = 2

    def __init__(self, *faults: Fault | str) -> None:
        self.faults = faults
        more = f"; {len(faults) - 1} more: `archipelago check` names all" if len(faults) > 1 else ""
        super().__init__(f"{faults[0]}{more}")


class Findings:
    """Gathers what is wrong over several checks, so that all of it can be said at once."""

    def __init__(self) -> None:
        self.faults: list[Fault | str] = []

    @contextmanager
    def gather(self) -> Iterator[None]:
        """Keep the faults of a check that refuses, and go on after it."""
        try:
            yield
        except BadInput as error:
            self.faults += error.faults

    def refuse(self) -> None:
        """Raise BadInput with all that was found, if anything was."""
        if self.faults:
            raise BadInput(*self.faults)


class DriftFound(ArchipelagoError):
    """Data moved further than the profile allows."""

    exit_code = 3


class GateRefused(ArchipelagoError):
    """The quality gate refused a release; the message is its verdict."""

    exit_code = 4
