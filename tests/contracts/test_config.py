"""A configuration on its way through a pipeline's parameter."""

import pytest

from components.contracts.config import StageConfig
from components.contracts.errors import BadInput


class Inner(StageConfig):
    count: int = 3


class Outer(StageConfig):
    inner: Inner = Inner()
    share: float | None = None


def test_whole_numbers_and_what_is_null_come_back() -> None:
    config = Outer(inner=Inner(count=7))
    assert config.structure == {"inner": {"count": 7}}
    assert Outer.of_structure({"inner": {"count": 7.0}}) == config


@pytest.mark.parametrize(
    ("structure", "says"),
    [
        ({"inner": {"count": 7.5}}, r"Outer: inner\.count: .*integer.* \(1 in all\)"),
        ({"shares": 1, "inner": {"cuont": 1}}, r"Outer: inner\.cuont: .*not permitted \(2 in all\)"),
        ({"inner": None}, "Outer: inner: "),
    ],
)
def test_what_a_person_changed_wrongly_is_one_clear_error(structure: dict[str, object], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        Outer.of_structure(structure)
