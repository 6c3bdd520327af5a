"""Every way that serving is measured beside answers a search: a way that fails would end a measurement of minutes."""

from pathlib import Path

import pytest

from serving.local.launcher import serve_release
from tests.bench.bench_serving import Direct, kserve_alone
from tests.bench.compare_serving import rates, sentences
from tests.bench.load import over_http, stored_searches
from tests.release.tiny_release import tiny_releases
from tests.serving.real_triton import require_triton


@pytest.mark.slow
def test_other_ways_to_serve_answer_a_stored_search(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> None:
    require_triton()
    release = tiny_releases(tmp_path_factory).search
    searches = stored_searches(release, 5, 3)
    with serve_release(release, tmp_path / "state") as service:
        direct = Direct(release, tmp_path / "state" / release.name, service.triton_grpc_url)
        for connect in (over_http(service.url, searches), direct.ready(searches), direct.chained(searches)):
            connect()()
        both = rates({"one": over_http(service.url, searches), "other": over_http(service.url, searches)}, 2, 0.2)
        assert [len(found) for found in both.values()] == [2, 2]
    with kserve_alone(release, tmp_path / "alone") as (url, _):
        over_http(url, searches)()()


def test_a_comparison_of_services_takes_its_ratios_round_by_round() -> None:
    text = sentences({"before": [10.0, 20.0, 30.0], "after": [30.0, 40.0, 30.0]})
    assert text == ["before: 20.0 requests/s", "after: 30.0 requests/s, 2.00 times before (1.00 to 3.00 in 3 rounds)"]
