"""Child processes that never outlive their parent, with their output in log files."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from components.contracts.errors import ArchipelagoError

LOOPBACK = "127.0.0.1"

# Runs in the child before the real program: the kernel sends it SIGTERM when the parent dies, however that happens
# (PR_SET_PDEATHSIG = 1 survives execve). A parent that died before this line is seen by the changed parent id.
_DIE_WITH_PARENT = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


class ServingFailed(ArchipelagoError):
    """A server process did not start or died; the message ends with the last lines of its log."""


class Child:
    """A started program.

    Args:
        name: what messages and the log file call it.
        command: absolute path of the program and its arguments.
        log: file its stdout and stderr go to (truncated).
        env: its whole environment.
        cwd: its working directory.
    """

    def __init__(self, name: str, command: Sequence[str], log: Path, env: Mapping[str, str], cwd: Path) -> None:
        self.name = name
        self.log = log
        shim = [sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(os.getpid())]
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            # Its own session: Ctrl-C reaches the parent alone, which then stops its children in order.
            self._process = subprocess.Popen(
                [*shim, *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(env),
                cwd=cwd,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Process id, and id of its group."""
        return self._process.pid

    def check(self) -> None:
        """Raise ServingFailed if the program has ended."""
        code = self._process.poll()
        if code is not None:
            raise ServingFailed(f"{self.name} ended with code {code}; {self.log} ends with:\n{self.tail()}")

    def tail(self, lines: int = 12) -> str:
        """The last lines of the log."""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])

    def stop(self, grace_s: float = 10.0) -> None:
        """Ask the program to end, then end its whole group."""
        if self._process.poll() is None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(grace_s)
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()


def free_ports(count: int) -> list[int]:
    """Distinct free TCP ports on loopback."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind((LOOPBACK, 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


@contextmanager
def sigterm_as_exit() -> Iterator[None]:
    """Let SIGTERM unwind the stack (SystemExit 143), so that `finally` clauses stop the children.

    Does nothing outside the main thread, where Python allows no handlers.
    """

    def leave(_signal: int, _frame: object) -> None:
        sys.exit(128 + signal.SIGTERM)

    try:
        previous = signal.signal(signal.SIGTERM, leave)
    except ValueError:
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
