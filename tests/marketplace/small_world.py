"""What the tests of the marketplace simulate, and how they read it."""

from datetime import UTC, datetime

import pandas as pd

from components.marketplace.config import MarketplaceConfig

AS_OF = datetime(2026, 3, 1, tzinfo=UTC)
SMALL = MarketplaceConfig(
    items=72, users=60, queries=10, judgments=6, search_requests=300, rec_requests=160, shop_requests=120
)

Frames = dict[str, pd.DataFrame]


def searches_with_clicks(frames: Frames) -> pd.DataFrame:
    """Candidates of search requests with user, query, time, utility, and whether they were clicked there."""
    requests = frames["requests"].query("domain == 'search'")
    events = frames["events"]
    clicks = events[(events["type"] == "click") & events["request_id"].notna()][["request_id", "item_id"]]
    rows = frames["candidates"].merge(requests, on="request_id").merge(frames["oracle"], on=["request_id", "item_id"])
    rows = rows.merge(clicks.assign(click=1), on=["request_id", "item_id"], how="left")
    return rows.assign(click=rows["click"].fillna(0), exposed=rows["position"].notna())
