"""A release to measure serving on: simulated data, untrained heads, real experts and a ranker of the laptop's size.

    python -m tests.bench.serving_world --out DIR

What it costs to serve does not depend on what heads have learned. Two markets of 1,200 items; three queries of each
market have a stored relevance of every item.
"""

import argparse
from pathlib import Path

from components.contracts.tools.log import configure
from components.marketplace.config import MarketplaceConfig
from components.ranking.model.spec import RankerSpec
from components.release.build import build_release
from components.release.config import ReleaseConfig
from components.relevance.config import RelevanceConfig
from tests.release.tiny_release import AS_OF, MARKETS, World, write_inputs

WORLD = World(
    MarketplaceConfig(
        markets=MARKETS, items=1200, users=200, queries=20, search_requests=1000, rec_requests=300, shop_requests=300
    ),
    RelevanceConfig().experts,
    RankerSpec(),
    whole_queries=3,
    weight_std=0.05,
)


def build_world(out: Path) -> Path:
    """The release's folder under `out`; a folder that has one already is not built again."""
    found = sorted((out / "releases").glob("*/manifest.json"))
    if found:
        return found[0].parent
    (out / "inputs").mkdir(parents=True)
    inputs = write_inputs(out / "inputs", WORLD)
    return build_release(inputs.relevance, inputs.ranking, ReleaseConfig(), AS_OF, out / "releases")


def main() -> None:
    """Build and print where."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    configure()
    print(build_world(parser.parse_args().out))


if __name__ == "__main__":
    main()
