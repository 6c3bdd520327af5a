"""Closed-loop load on a Triton server over gRPC: so many clients, each with one request under way at a time.

Clients are threads of several processes: one Python would be slower than the server. Requests are serialised before
the clock starts, and answers are counted, not read.
"""

import multiprocessing
import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import grpc  # type: ignore[import-untyped]
import numpy as np
from tritonclient.grpc import service_pb2

INFER = "/inference.GRPCInferenceService/ModelInfer"
_UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
_WARM_S = 1.0


def request(model: str, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]) -> bytes:
    """A serialised ModelInfer request; BYTES tensors are object arrays of bytes."""
    message = service_pb2.ModelInferRequest(model_name=model)
    for name, values in inputs.items():
        datatype = {"int32": "INT32", "int64": "INT64", "object": "BYTES"}[str(values.dtype)]
        message.inputs.add(name=name, datatype=datatype, shape=list(values.shape))
        if datatype == "BYTES":
            parts = (len(text).to_bytes(4, "little") + text for text in values.ravel())
            message.raw_input_contents.append(b"".join(parts))
        else:
            message.raw_input_contents.append(np.ascontiguousarray(values).tobytes())
    for name in outputs:
        message.outputs.add(name=name)
    return bytes(message.SerializeToString())


def answer(address: str, message: bytes) -> list[bytes]:
    """Raw outputs of one request."""
    with grpc.insecure_channel(address, options=_UNLIMITED) as channel:
        found = channel.unary_unary(INFER)(message, timeout=60)
    return list(service_pb2.ModelInferResponse.FromString(found).raw_output_contents)


@dataclass(frozen=True)
class Found:
    """Answers of one step: per second, and their latencies in milliseconds."""

    per_second: float
    p50_ms: float
    p99_ms: float


class Clients:
    """Processes that wait for steps; they end when the context does."""

    def __init__(self, address: str) -> None:
        count = max(2, min(12, (os.cpu_count() or 2) - 4))
        spawn = multiprocessing.get_context("spawn")
        pipes = [spawn.Pipe() for _ in range(count)]
        self._pipes = [ours for ours, _ in pipes]
        self._processes = [
            spawn.Process(target=_work, args=(theirs, address, number), daemon=True)
            for number, (_, theirs) in enumerate(pipes)
        ]
        for process in self._processes:
            process.start()
        for pipe in self._pipes:
            pipe.recv()  # started

    def __enter__(self) -> "Clients":
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in self._pipes:
            pipe.send(None)
        for process in self._processes:
            process.join(10)

    def step(self, messages: Sequence[bytes], clients: int, seconds: float) -> Found:
        """Send these requests in turn, clients beginning as far from each other as can be, for so long.

        Raises:
            RuntimeError: a request failed.
        """
        used = self._pipes[: min(len(self._pipes), clients)]
        for place, pipe in enumerate(used):
            first = [client * len(messages) // clients for client in range(place, clients, len(used))]
            pipe.send((messages, first))
        for pipe in used:
            pipe.recv()  # has them all
        begin = time.monotonic() + _WARM_S + 0.5
        for pipe in used:
            pipe.send((begin, begin + seconds))
        found: list[tuple[float, float]] = []
        for pipe in used:
            taken, errors = pipe.recv()
            if errors:
                raise RuntimeError(errors[0])
            found += taken
        starts, ends = np.array(found).T
        milliseconds = (ends - starts) * 1e3
        p50, p99 = (round(float(np.percentile(milliseconds, percent)), 2) for percent in (50, 99))
        return Found(len(found) / (ends.max() - starts.min()), p50, p99)


def _work(pipe: Connection, address: str, number: int) -> None:
    options = [*_UNLIMITED, ("grpc.use_local_subchannel_pool", 1), ("archipelago.process", number)]
    call = grpc.insecure_channel(address, options=options).unary_unary(INFER)
    pipe.send(None)
    while (job := pipe.recv()) is not None:
        pipe.send(None)
        pipe.send(_step(call, *job, *pipe.recv()))


def _step(
    call: Any, messages: Sequence[bytes], first: Sequence[int], begin: float, end: float
) -> tuple[list[tuple[float, float]], list[str]]:
    """((sent, answered) of every request sent between begin and end, errors)."""
    found: list[tuple[float, float]] = []
    errors: list[str] = []

    def client(at: int) -> None:
        time.sleep(max(0.0, begin - _WARM_S - time.monotonic()))
        while not errors and (sent := time.monotonic()) < end:
            try:
                call(messages[at % len(messages)], timeout=60)
            except grpc.RpcError as error:
                errors.append(f"{error.code().name}: {error.details()}")
                return
            at += 1
            if sent >= begin:
                found.append((sent, time.monotonic()))

    threads = [threading.Thread(target=client, args=(place,)) for place in first]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found, errors
