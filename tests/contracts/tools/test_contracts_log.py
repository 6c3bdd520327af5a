"""What a person reads of the log."""

import logging

import pytest

from components.contracts.tools.log import configure, get_logger


@pytest.fixture(autouse=True)
def root_as_it_was():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_libraries_are_heard_when_they_warn_alone(capsys: pytest.CaptureFixture[str]) -> None:
    configure("INFO")
    library = get_logger("bm25s")
    library.setLevel(logging.DEBUG)  # as it does itself when it is imported, after our configuration
    library.info("Building index")
    library.warning("the index is empty")
    get_logger("components.x").info("scored 12 pairs")
    said = capsys.readouterr().err
    assert "Building index" not in said
    assert "the index is empty" in said and "scored 12 pairs" in said
