"""Worker processes of one server: each is a whole server, they listen on the same ports, and they end together.

Choices (ours):

- The kernel hands each new connection to one of the workers (SO_REUSEPORT), over REST as over gRPC.
- Workers are forked before anything is opened: they share what is imported, and no thread or connection.
- One that ends by itself takes the others with it, and the server ends with an error: whoever started it, a launcher or
  a kubelet, starts all of it anew.
"""

import ctypes
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence

from components.contracts.errors import BadInput

_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG
_STOP = (signal.SIGTERM, signal.SIGINT)


def run_workers(count: int, work: Callable[[int], None]) -> None:
    """Call `work` with 0, 1, ... in `count` processes until SIGTERM or SIGINT, which each of them gets.

    Raises:
        SystemExit: with 1 if a worker ended by itself, or 0.
    """
    pids = [_fork(place, work) for place in range(count)]
    stopping = False

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True
        _tell(pids)

    for number in _STOP:
        signal.signal(number, stop)
    failed = False
    left = set(pids)
    while left:
        pid, status = os.wait()
        left.discard(pid)
        if not stopping or os.waitstatus_to_exitcode(status):
            failed = True
            _tell(left)
    sys.exit(int(failed))


def _fork(place: int, work: Callable[[int], None]) -> int:
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGTERM)
    code = 1
    try:
        if os.getppid() == parent:
            work(place)
            code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except Exception:  # noqa: BLE001  nothing above a worker may run twice, whatever happened in it
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _tell(pids: Sequence[int] | set[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGTERM)
        except ProcessLookupError:
            continue


def listen(host: str, port: int, shared: bool) -> socket.socket:
    """A bound TCP socket; several processes may bind a shared one to the same port.

    Raises:
        BadInput: the port is taken.
    """
    # The protocol is named because asyncio sends without delay (TCP_NODELAY) only where a socket says that it is TCP.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise BadInput(f"{host}:{port}: {error.strerror}") from error
    return bound
