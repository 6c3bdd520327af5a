"""Two worker processes of one service: one log folder and one set of metrics."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pyarrow.parquet as pq
import pytest

from serving import client
from serving.local.launcher import serve_release
from serving.observe.pseudonym import KEY_VARIABLE
from tests.release.tiny_release import Tiny
from tests.serving.real_triton import require_triton

pytestmark = pytest.mark.slow
SEARCHES = 24


def test_two_workers_log_and_count_together(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_triton()
    monkeypatch.setenv(KEY_VARIABLE, "the key of a test of workers")
    items = pq.read_table(tiny.search / "catalogue.parquet").to_pylist()
    market = items[0]["market"]
    ids = [item["item_id"] for item in items if item["market"] == market][:4]
    flags = [f"--log_folder={tmp_path / 'log'}"]
    with serve_release(tiny.search, tmp_path / "state", workers=2, flags=flags) as service:

        def visit(number: int) -> None:  # each on a connection of its own: the kernel picks a worker
            page = client.search(service.url, market, f"user-{number}", "a query", ids)
            clicked = {"type": "click", "user_id": "one user", "item_id": page[0].item_id}
            client.send_events(service.url, [clicked | {"request_id": page.request_id}])

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(visit, range(SEARCHES)))
        text = httpx.get(f"{service.url}/metrics").text
    assert f'archipelago_events_total{{type="click"}} {float(SEARCHES)}' in text
    parts = [part for part in (tmp_path / "log").iterdir() if part.name.startswith("part-")]
    by_process = Counter(part.name.rpartition("-")[2] for part in parts)
    assert len(by_process) == 2
    rows = {
        name: sum(pq.read_metadata(file).num_rows for part in parts for file in part.glob(f"{name}.parquet"))
        for name in ("requests", "events")
    }
    assert rows == {"requests": SEARCHES + 1, "events": SEARCHES}  # and the launcher's own
