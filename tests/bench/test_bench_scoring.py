"""Both ways of scoring run and agree: one that fails would end a measurement of minutes."""

import pytest

from tests.bench.bench_scoring import measure
from tests.release.tiny_release import tiny_releases


@pytest.mark.slow
def test_both_ways_score_alike(tmp_path_factory: pytest.TempPathFactory) -> None:
    result = measure(tiny_releases(tmp_path_factory).search, requests=3)
    assert 0 < result["figure"]["distinct_pairs"] <= result["figure"]["pairs"]
    assert result["figure"]["max_abs_diff"] < 1e-4
