"""Every way that serving is measured beside answers a search: a way that fails would end a measurement of minutes."""

from pathlib import Path

import pytest

from serving.local.launcher import serve_release
from tests.bench.bench_serving import Direct, kserve_alone
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
    with kserve_alone(release, tmp_path / "alone") as (url, _):
        over_http(url, searches)()()
