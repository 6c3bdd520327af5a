"""Worker processes: they share a port, stop together, and none outlives the others."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from components.contracts.errors import BadInput
from serving.transformer.workers import listen

ROOT = Path(__file__).resolve().parents[3]
SERVER = """
import os, signal, sys
from serving.transformer.workers import listen, run_workers

def work(place):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    bound = listen("127.0.0.1", int(sys.argv[1]), shared=True)
    bound.listen()
    os.write(1, b"up\\n")
    while True:
        asked, _ = bound.accept()
        asked.sendall(str(os.getpid()).encode())
        asked.close()

run_workers(2, work)
"""


@pytest.fixture
def started() -> Iterator[tuple[subprocess.Popen, int]]:
    """A server of two workers, and its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", SERVER, str(port)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert server.stdout is not None
    try:
        assert [server.stdout.readline() for _ in range(2)] == ["up\n"] * 2
        yield server, port
    finally:
        server.kill()
        server.wait()


def asked(port: int) -> int:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        return int(connection.recv(64))


def ended(pids: set[int]) -> bool:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        if not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids):
            return True
        time.sleep(0.05)
    return False


def test_both_answer_and_stop_cleanly(started: tuple[subprocess.Popen, int]) -> None:
    server, port = started
    workers = {child.pid for child in psutil.Process(server.pid).children()}
    assert len(workers) == 2
    assert {asked(port) for _ in range(200)} == workers
    server.send_signal(signal.SIGTERM)
    assert server.wait(10) == 0
    assert ended(workers)


def test_a_worker_that_dies_ends_all_with_an_error(started: tuple[subprocess.Popen, int]) -> None:
    server, _ = started
    first, second = (child.pid for child in psutil.Process(server.pid).children())
    os.kill(first, signal.SIGKILL)
    assert server.wait(10) == 1
    assert ended({second})


def test_workers_do_not_outlive_the_first_process(started: tuple[subprocess.Popen, int]) -> None:
    server, _ = started
    workers = {child.pid for child in psutil.Process(server.pid).children()}
    server.kill()
    server.wait(10)
    assert ended(workers)


def test_a_port_of_somebody_else_is_refused() -> None:
    with listen("127.0.0.1", 0, shared=True) as bound:
        bound.listen()
        port = bound.getsockname()[1]
        with pytest.raises(BadInput, match=f"127.0.0.1:{port}: Address already in use"):
            listen("127.0.0.1", port, shared=False)


def test_answers_are_sent_without_delay() -> None:
    async def run() -> int:
        async def handle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nodelay.set_result(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        nodelay = asyncio.get_running_loop().create_future()
        server = await asyncio.start_server(handle, sock=listen("127.0.0.1", 0, shared=True))
        async with server:
            _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.close()
            return int(await nodelay)

    assert asyncio.run(run()) == 1
