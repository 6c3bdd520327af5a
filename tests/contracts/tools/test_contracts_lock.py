"""One process at a time: who comes second waits or is refused, and a folder is free again after an error."""

from pathlib import Path
from threading import Event, Thread

import pytest

from components.contracts.errors import BadInput
from components.contracts.tools.lock import alone_in


def test_who_comes_second_waits(tmp_path: Path) -> None:
    asked, entered = Event(), Event()

    def second() -> None:
        asked.set()
        with alone_in(tmp_path):
            entered.set()

    thread = Thread(target=second)
    with alone_in(tmp_path):
        thread.start()
        assert asked.wait(10)
        assert not entered.wait(0.2)
    assert entered.wait(10)
    thread.join()
    assert not list(tmp_path.iterdir())


def test_who_will_not_wait_is_refused_until_the_first_has_left_or_failed(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), alone_in(tmp_path):
        with pytest.raises(BadInput, match="come back later"), alone_in(tmp_path, "come back later"):
            pytest.fail("both are in")
        raise ZeroDivisionError
    with alone_in(tmp_path, "come back later"):
        pass
