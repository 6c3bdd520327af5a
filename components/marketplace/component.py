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
def find_data(data: str, judgments: str) -> str:
    """Tell which version of the data lies there; what is loaded is cached under it, this step never is."""
    from components.contracts.locations import data_version

    return data_version(data, judgments)


@dsl.component(base_image="archipelago-data", install_kfp_package=False)
def load(
    data: str, judgments: str, markets: str, as_of: str, version: str, log: Output[Dataset], report: Output[HTML]
) -> None:
    """Check and load a user's log; `markets` is a JSON list, an empty `data` means judgments alone."""
    import json
    import shutil
    from datetime import datetime
    from pathlib import Path

    from components.marketplace.logs.load import load_judgments, load_log, located
    from components.marketplace.report import REPORT

    with located(data, judgments, version) as (folder, apart):
        if folder:
            load_log(folder, apart, json.loads(markets), datetime.fromisoformat(as_of), Path(log.path))
        elif apart:
            load_judgments(apart, json.loads(markets), Path(log.path))
    log.metadata["data_version"] = version
    shutil.copyfile(Path(log.path) / REPORT, report.path)
