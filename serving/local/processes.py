"""Child processes that never outlive their parent, with their output in log files."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from components.contracts.errors import ArchipelagoError, BadInput
from components.contracts.tools.log import get_logger

LOOPBACK = "127.0.0.1"
_WATCH_S = 0.2
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0
_STEADY_S = 60.0  # who has run this long begins with the first pause again
_logger = get_logger(__name__)

# Runs in the child before the real program: the kernel sends it SIGTERM when the parent dies, however that happens
# (PR_SET_PDEATHSIG = 1 survives execve). A parent that died before this line is seen by the changed parent id.
_DIE_WITH_PARENT = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


_ROOM = 64 * 1024  # bytes a process's last words take, at most


class ServingFailed(ArchipelagoError):
    """A server process did not start or died; the message ends with the last lines of its log."""


class Child:
    """A started program.

    Args:
        name: what messages and the log file call it.
        command: absolute path of the program and its arguments.
        log: file its stdout and stderr are added to.
        env: its whole environment.
        cwd: its working directory.
        grace_s: how long it may take to end when it is asked to.
        shared_memory: beginning of the names of its regions in /dev/shm, which one that was killed leaves behind.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        env: Mapping[str, str],
        cwd: Path,
        grace_s: float = 10.0,
        shared_memory: str | None = None,
    ) -> None:
        self.name = name
        self.log = log
        self._grace_s = grace_s
        self._shared_memory = shared_memory
        self.started = time.monotonic()
        shim = [sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(os.getpid())]
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
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

    @property
    def code(self) -> int | None:
        """Exit code, minus the signal's number where one ended it; None while the program runs."""
        return self._process.poll()

    def check(self) -> None:
        """Raise ServingFailed if the program has ended."""
        code = self.code
        if code is not None:
            # What a full disk ends cannot write its reason there.
            full = "" if shutil.disk_usage(self.log.parent).free >= _ROOM else f"the disk is full ({self.log.parent}); "
            raise ServingFailed(f"{full}{self.name} ended with code {code}; {self.log} ends with:\n{self.tail()}")

    def tail(self, lines: int = 12) -> str:
        """The last lines of the log."""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])

    def stop(self) -> None:
        """Ask the program to end, then end its whole group."""
        if self._process.poll() is None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(self._grace_s)
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        if self._shared_memory:
            for region in Path("/dev/shm").glob(f"{self._shared_memory}*"):  # noqa: S108  the kernel's own folder
                region.unlink(missing_ok=True)


class Kept:
    """Children that are started anew when they end by themselves, after a pause that doubles.

    Args:
        starts: how to start each child, by name, in the order in which they are started; they end in the other order.
        pids: told the process id of each, whenever it changes.
    """

    def __init__(self, starts: Mapping[str, Callable[[], Child]], pids: dict[str, int]) -> None:
        self._starts = starts
        self._pids = pids
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="keeper", daemon=True)
        self.children: dict[str, Child] = {}

    def __enter__(self) -> Self:
        try:
            for name, start in self._starts.items():
                self._started(name, start())
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._leaving.set()
        if self._thread.is_alive():
            self._thread.join()  # ends the children: those that it started would be told to end when it does
        else:
            self._stop()

    def keep(self) -> None:
        """From now on, start a child anew that ends."""
        self._thread.start()

    def _keep(self) -> None:
        pauses, due = dict.fromkeys(self._starts, _FIRST_PAUSE_S), dict.fromkeys(self._starts, 0.0)
        while not self._leaving.wait(_WATCH_S):
            for name, child in list(self.children.items()):
                now = time.monotonic()
                if child.code is None:
                    if now - due[name] > _STEADY_S:
                        pauses[name] = _FIRST_PAUSE_S
                elif due[name] <= child.started:
                    _logger.error("%s ended with code %s; it is started anew in %.1f s", name, child.code, pauses[name])
                    child.stop()
                    due[name] = now + pauses[name]
                    pauses[name] = min(2 * pauses[name], _LONGEST_PAUSE_S)
                elif now >= due[name]:
                    self._start_anew(name)
        self._stop()

    def _start_anew(self, name: str) -> None:
        try:
            self._started(name, self._starts[name]())
        except OSError as error:
            _logger.error("%s cannot be started: %s", name, error)

    def _started(self, name: str, child: Child) -> None:
        self.children[name] = child
        self._pids[name] = child.pid

    def _stop(self) -> None:
        for child in reversed(self.children.values()):
            child.stop()


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


def require_free(port: int) -> None:
    """Make sure that nobody listens on a port of loopback.

    Raises:
        BadInput: somebody does.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one that was just left is free
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            raise BadInput(f"port {port} of {LOOPBACK} is in use or not allowed ({error.strerror})") from error


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
