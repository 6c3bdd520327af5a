"""Plain facts of a market's rows, without a test: it is gone, it is new, or it has far fewer or more rows."""

from components.monitoring.config import MonitoringConfig
from components.monitoring.findings import EVERY_COLUMN, Finding


def compare_rows(
    market: str, rows: tuple[int, int], days: tuple[float, float] | None, config: MonitoringConfig
) -> list[Finding]:
    """What the number of rows says, critical; nothing where neither window has enough of them to say it.

    Args:
        market: whose rows.
        rows: in the reference and in the current window.
        days: how long each window is; None where the number of rows says nothing.
        config: the stage's.
    """
    if max(rows) < config.min_rows:
        return []
    if min(rows) == 0:
        state = "new: no rows before" if rows[0] == 0 else "gone: no rows now"
        return [_critical(market, rows, f"{rows[0]:,} -> {rows[1]:,} rows", state)]
    if days is None:
        return []
    factor = (rows[1] / days[1]) / (rows[0] / days[0])
    if 1 / config.row_factor < factor < config.row_factor:
        return []
    per_day = "" if days[0] == days[1] else " a day"
    what = f"{rows[0] / days[0]:,.0f} -> {rows[1] / days[1]:,.0f} rows{per_day}"
    return [_critical(market, rows, what, f"{abs(factor - 1):.0%} {'fewer' if factor < 1 else 'more'} rows")]


def _critical(market: str, rows: tuple[int, int], what: str, broken: str) -> Finding:
    return Finding("rows", market, EVERY_COLUMN, what, *rows, severity="critical", broken=broken)
