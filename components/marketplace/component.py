"""KFP components of the marketplace stage."""

from typing import Any, NamedTuple

from kfp import dsl
from kfp.dsl import HTML, Dataset, Output


@dsl.component(base_image="archipelago-data", install_kfp_package=False)
def simulate(config: dict[str, Any], as_of: str, log: Output[Dataset], report: Output[HTML]) -> None:
    """Simulate a log: markets, shoppers, what they search, click and buy, and judged pairs.

    Args:
        config: the profile's section marketplace.
        as_of: ISO 8601 instant at which the log ends.

    Returns:
        log: the simulated log.
        report: what is in it.
    """
    import shutil
    from datetime import datetime
    from pathlib import Path

    from components.contracts.tools.manifest import facts
    from components.marketplace.config import MarketplaceConfig
    from components.marketplace.report import REPORT
    from components.marketplace.simulator.simulate import simulate as simulate_log

    simulate_log(MarketplaceConfig.of_structure(config), datetime.fromisoformat(as_of), Path(log.path))
    shutil.copyfile(Path(log.path) / REPORT, report.path)
    log.metadata.update(facts(Path(log.path)))


@dsl.component(base_image="archipelago-data", install_kfp_package=False)
def find_data(
    data: str,
    judgments: str,
    as_of: str,
    scheduled: str,
) -> NamedTuple("Found", [("version", str), ("as_of", str)]):  # type: ignore[valid-type]  # KFP reads it
    """Tell which version of the data lies there, and what counts as now; later steps are cached under both.

    Args:
        data: folder of the six tables; empty where there are judgments alone.
        judgments: the judgments' file, where it lies elsewhere.
        as_of: ISO 8601 instant that counts as now; empty: when the run was scheduled.
        scheduled: that time, as the server tells it.

    Returns:
        version: the version of the data.
        as_of: ISO 8601 instant that counts as now.
    """
    from components.contracts.locations import data_version
    from components.contracts.moments import moment_of_run

    return data_version(data, judgments), moment_of_run(as_of, scheduled).isoformat()


@dsl.component(base_image="archipelago-data", install_kfp_package=False)
def load(
    data: str,
    judgments: str,
    markets: list[str],
    as_of: str,
    version: str,
    config: dict[str, Any],
    log: Output[Dataset],
    report: Output[HTML],
) -> NamedTuple("Loaded", [("as_of", str)]):  # type: ignore[valid-type]  # KFP reads it
    """Check and load a user's log; what comes out is the instant at which the windows of later steps end.

    Args:
        data: folder of the six tables; empty where there are judgments alone.
        judgments: the judgments' file, where it lies elsewhere.
        markets: markets that the log may name; their order sets the codes that models learn.
        as_of: ISO 8601 instant that counts as now: later rows are refused.
        version: the data's, as find-data told it; other data are refused.
        config: the profile's section load.

    Returns:
        log: the log, checked.
        report: what is in it.
        as_of: ISO 8601 instant at which the windows of later steps end.
    """
    import shutil
    from datetime import datetime
    from pathlib import Path

    from components.contracts.tools.manifest import facts
    from components.marketplace.logs.config import LoadConfig
    from components.marketplace.logs.load import load_judgments, load_log, located
    from components.marketplace.report import REPORT

    with located(data, judgments, version) as (folder, apart):
        if folder:
            now, chosen = datetime.fromisoformat(as_of), LoadConfig.of_structure(config)
            as_of = load_log(folder, apart, markets, now, Path(log.path), chosen).isoformat()
        elif apart:
            load_judgments(apart, markets, Path(log.path))
    log.metadata.update(facts(Path(log.path)), data_version=version)
    shutil.copyfile(Path(log.path) / REPORT, report.path)
    return (as_of,)
