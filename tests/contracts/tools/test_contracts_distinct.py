"""Work that repeats is done once."""

from components.contracts.tools.distinct import map_distinct


def test_each_distinct_value_is_asked_once_and_order_stays() -> None:
    asked = []

    def double(value: int) -> int:
        asked.append(value)
        return 2 * value

    assert map_distinct(double, iter([3, 1, 3, 2, 1])) == [6, 2, 6, 4, 2]
    assert asked == [3, 1, 2]
    assert map_distinct(double, []) == []
