"""KFP components of the marketplace stage."""

from kfp import dsl
from kfp.dsl import HTML, Dataset, Output


@dsl.component(base_image="archipelago-data", install_kfp_package=False)
def simulate(config: str, as_of: str, log: Output[Dataset], report: Output[HTML]) -> None:
    """Simulate a log that ends at `as_of` (ISO 8601) with the configuration in `config` (JSON)."""
    import shutil
    from datetime import datetime
    from pathlib import Path

    from components.marketplace.config import MarketplaceConfig
    from components.marketplace.report import REPORT
    from components.marketplace.simulator.simulate import simulate as simulate_log

    simulate_log(MarketplaceConfig.model_validate_json(config), datetime.fromisoformat(as_of), Path(log.path))
    shutil.copyfile(Path(log.path) / REPORT, report.path)


@dsl.component(base_image="archipelago-data", install_kfp_package=False)
def load(data: str, judgments: str, markets: str, as_of: str, log: Output[Dataset], report: Output[HTML]) -> None:
    """Check and load a user's log; `markets` is a JSON list, an empty `data` means judgments alone."""
    import json
    import shutil
    from datetime import datetime
    from pathlib import Path

    from components.marketplace.logs.load import load_judgments, load_log
    from components.marketplace.report import REPORT

    apart = Path(judgments) if judgments else None
    if data:
        load_log(Path(data), apart, json.loads(markets), datetime.fromisoformat(as_of), Path(log.path))
    else:
        load_judgments(Path(judgments), json.loads(markets), Path(log.path))
    shutil.copyfile(Path(log.path) / REPORT, report.path)
