"""The three steps of a GPU model, with Triton played by functions: who is answered what, whatever goes wrong."""

import importlib.util
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

SOURCE = Path(__file__).resolve().parents[2] / "serving" / "triton" / "models" / "relevance" / "pipeline.py"
INTERVAL_S = sys.getswitchinterval()


class Request:
    """A number that its model doubles, and whoever waits for the answer."""

    def __init__(self, number: float) -> None:
        self.number = number
        self.answers: list[Any] = []
        self.answered = threading.Event()

    def get_response_sender(self) -> "Request":
        return self

    def send(self, response: Any, flags: int) -> None:
        assert flags == 1
        self.answers.append(response)
        self.answered.set()
        if self.number == 13:
            raise RuntimeError("the caller has gone")

    def answer(self) -> Any:
        assert self.answered.wait(10)
        (response,) = self.answers
        return response


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    triton = ModuleType("triton_python_backend_utils")
    triton.Tensor = lambda name, values: (name, values)  # type: ignore[attr-defined]
    triton.TritonError = str  # type: ignore[attr-defined]
    triton.InferenceResponse = lambda tensors=(), error=None: error or dict(tensors)  # type: ignore[attr-defined]
    triton.TRITONSERVER_RESPONSE_COMPLETE_FINAL = 1  # type: ignore[attr-defined]
    triton.Logger = SimpleNamespace(log_warn=lambda message: None)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", triton)
    spec = importlib.util.spec_from_file_location("pipeline_under_test", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.setswitchinterval(INTERVAL_S)


@pytest.fixture
def model(pipeline: ModuleType) -> Iterator[Any]:
    """1 cannot be read, 2 not prepared, 3 not run, 4 not taken apart; all else is doubled."""

    def refuse(numbers: Any, wrong: float, where: str) -> None:
        if wrong in numbers:
            raise ValueError(f"{float(wrong)} in {where}")

    class Doubling(pipeline.PipelinedModel):  # type: ignore[name-defined, misc]
        name = "doubling"
        device = torch.device("cpu")
        hold = threading.Event()
        batches: list[list[float]]

        def read(self, request: Request) -> float:
            refuse([request.number], 1, "read")
            return request.number

        def prepare(self, inputs: list[float]) -> list[float]:
            refuse(inputs, 2, "prepare")
            return inputs

        def run(self, prepared: list[float]) -> torch.Tensor:
            self.batches.append(prepared)
            refuse(prepared, 3, "run")
            return torch.tensor(prepared) * 2

        def parts(self, prepared: list[float], found: np.ndarray) -> list[dict[str, float]]:
            assert self.hold.wait(10)
            refuse(prepared, 4, "parts")
            return [{"double": float(value)} for value in found]

    made = Doubling()
    made.batches = []
    made.hold.set()
    made.start()
    yield made
    made.hold.set()
    made.finalize()


def test_requests_of_a_batch_run_together_and_each_has_its_part(model: Any) -> None:
    requests = [Request(number) for number in (5.0, 6.0, 7.0)]
    assert model.execute(requests) is None
    assert [request.answer() for request in requests] == [{"double": 10.0}, {"double": 12.0}, {"double": 14.0}]
    assert model.batches == [[5.0, 6.0, 7.0]]


@pytest.mark.parametrize(("number", "where"), [(1.0, "read"), (2.0, "prepare"), (3.0, "run")])
def test_one_that_cannot_be_read_prepared_or_run_fails_alone(model: Any, number: float, where: str) -> None:
    requests = [Request(each) for each in (5.0, number, 7.0)]
    model.execute(requests)
    answers = [request.answer() for request in requests]
    assert answers == [{"double": 10.0}, f"doubling: {number} in {where}", {"double": 14.0}]


def test_a_failure_of_a_whole_batch_is_told_to_its_requests_and_the_next_batch_goes_on(model: Any) -> None:
    failing, after = [Request(4.0), Request(5.0)], Request(6.0)
    model.execute(failing)
    model.execute([after])
    assert {request.answer() for request in failing} == {"doubling: 4.0 in parts"}
    assert after.answer() == {"double": 12.0}


def test_a_caller_that_has_gone_ends_no_thread(model: Any) -> None:
    gone, after = Request(13.0), Request(6.0)
    model.execute([gone, after])
    assert after.answer() == {"double": 12.0}
    model.execute([Request(1.0)])
    last = Request(8.0)
    model.execute([last])
    assert last.answer() == {"double": 16.0}


def test_a_batch_that_finds_nothing_under_way_is_started_at_once(model: Any) -> None:
    model.hold.clear()
    requests = [Request(float(number)) for number in range(5, 7)]
    model.execute(requests[:1])
    assert model.batches == [[5.0]]
    assert model.ready.unfinished_tasks == 0
    model.execute(requests[1:])
    model.hold.set()
    assert [request.answer() for request in requests] == [{"double": 10.0}, {"double": 12.0}]


def test_a_full_queue_holds_triton_back_and_the_end_answers_what_is_under_way(pipeline: ModuleType, model: Any) -> None:
    model.hold.clear()
    requests = [Request(float(number)) for number in range(5, 11)]

    def send() -> None:
        for request in requests:
            model.execute([request])

    sending = threading.Thread(target=send)
    sending.start()
    sending.join(0.3)
    # One is answered, one has run, one waits to be answered, one waits to run: the fifth is held.
    assert sending.is_alive()
    assert not any(request.answers for request in requests)
    assert model.ready.qsize() == pipeline.DEPTH
    model.hold.set()
    sending.join(10)
    model.finalize()
    assert [request.answer() for request in requests] == [{"double": 2.0 * number} for number in range(5, 11)]
    assert not any(thread.is_alive() for thread in model.threads)
    model.start()  # the fixture ends it once more
