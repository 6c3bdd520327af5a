"""The soak measures a real service; seconds of it show the coarse leaks, ten minutes are in the results."""

import pytest

from tests.bench.soak import growth, measure
from tests.release.tiny_release import tiny_releases
from tests.serving.real_triton import require_triton


def test_the_second_and_the_last_quarter_are_compared() -> None:
    samples = [{"mib": float(value)} for value in (9, 9, 1, 1, 5, 5, 2, 2)]
    assert growth(samples) == {"mib": {"second_quarter": 1.0, "last_quarter": 2.0}}


@pytest.mark.slow
def test_a_short_soak_answers_all_and_keeps_to_what_it_holds(tmp_path_factory: pytest.TempPathFactory) -> None:
    require_triton()
    result = measure(tiny_releases(tmp_path_factory).search, seconds=20)
    statuses = {kind: set(counts) for kind, counts in result["answers"].items()}
    assert statuses.pop("refused") == {"400"}
    assert all(seen == {"200"} for seen in statuses.values()), statuses
    for name, held in result["held"].items():
        allowed = 1.1 if name.endswith("_mib") else 1.02
        assert held["last_quarter"] <= allowed * held["second_quarter"] + 2, (name, held)
