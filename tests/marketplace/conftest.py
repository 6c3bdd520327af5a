"""A small simulated log, made once, and the tables of markets under other configurations."""

from collections.abc import Callable
from pathlib import Path

import pytest

from components.marketplace.config import MarketplaceConfig
from components.marketplace.simulator.simulate import simulate, simulate_market
from tests.marketplace.small_world import AS_OF, SMALL, Frames


@pytest.fixture(scope="session")
def small_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of six small markets. Not to be changed."""
    out = tmp_path_factory.mktemp("marketplace") / "log"
    simulate(SMALL, AS_OF, out)
    return out


@pytest.fixture(scope="session")
def market_frames() -> Callable[..., Frames]:
    """Tables of one market under a configuration, as data frames; the same question is answered once."""
    known: dict[str, Frames] = {}

    def frames(market: str = "ID", **changes: object) -> Frames:
        config = MarketplaceConfig(**{"users": 300, "search_requests": 3000, **changes})
        key = f"{market}:{config.model_dump_json()}"
        if key not in known:
            known[key] = {name: table.to_pandas() for name, table in simulate_market(config, AS_OF, market).items()}
        return known[key]

    return frames
