"""The rows of both windows, market by market and column by column: reference first, whether as rows or as a profile.

Shapes: R rows of both windows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from components.monitoring.config import MonitoringConfig
from components.monitoring.findings import EVERY_MARKET, Scope
from components.monitoring.profiles import ColumnProfile, TableProfile
from components.monitoring.sign_flips import group_rows
from components.monitoring.table_sample import PRIORITY


@dataclass(frozen=True)
class ColumnSpec:
    """How one column is compared.

    Attributes:
        name: the column, in both frames.
        kind: numeric, or categorical (values become text).
        scope: what its findings are called.
        entity: the column whose values are the units of the tests (a user's rows move together); None: each row.
        segment: what its values are ("domain"), where one that is gone or new is critical.
        expected: reason why it moves by construction, if it does: it is then shown, not judged.
    """

    name: str
    kind: Literal["numeric", "categorical"]
    scope: Scope = "feature"
    entity: str | None = None
    segment: str = ""
    expected: str = ""


@dataclass(frozen=True)
class Column:
    """One column of both windows.

    Attributes:
        values: floats with NaN, or objects of str and None (R,).
        tested: the same, as far as the reference tells them apart (R,).
        groups: of entities, see `sign_flips` (R,).
        entities: how many there are.
    """

    values: np.ndarray
    tested: np.ndarray
    groups: np.ndarray
    entities: int


class Window:
    """One market.

    Attributes:
        market: its name, or "all" for all of them.
        all_rows: of the reference and of the current window.
        rows: those that are compared.
        is_current: whether each of those is of the current window (R,).
    """

    def __init__(
        self,
        market: str,
        reference: pd.DataFrame | Mapping[str, ColumnProfile],
        current: pd.DataFrame,
        config: MonitoringConfig,
    ) -> None:
        self.market = market
        self._reference = _cap(reference, config) if isinstance(reference, pd.DataFrame) else reference
        self._current, self._seed = _cap(current, config), config.seed
        self.all_rows = (_rows(reference), len(current))
        self.rows = (_rows(self._reference), len(self._current))
        self.is_current = np.arange(sum(self.rows)) >= self.rows[0]
        self._groups: dict[str | None, tuple[np.ndarray, int]] = {}

    def column(self, spec: ColumnSpec) -> Column:
        """A column by its spec, with groups of entities that are made once per entity where there are rows."""
        new = column_values(self._current[spec.name], spec.kind)
        if isinstance(self._reference, pd.DataFrame):
            values = np.r_[column_values(self._reference[spec.name], spec.kind), new]
            return Column(values, values, *self._groups_of(spec.entity, self._reference))
        profile = self._reference[spec.name]
        old, together = profile.expand()
        own = pd.factorize(self._current[spec.entity], use_na_sentinel=False)[0] if spec.entity else np.arange(len(new))
        entities = pd.Series(np.r_[together, own + len(old)])
        groups = group_rows(entities, len(entities), self._seed)
        return Column(np.r_[old, new], np.r_[old, profile.seen_as(new)], *groups)

    def _groups_of(self, entity: str | None, reference: pd.DataFrame) -> tuple[np.ndarray, int]:
        if entity not in self._groups:
            both = None if entity is None else pd.concat([reference[entity], self._current[entity]])
            self._groups[entity] = group_rows(both, sum(self.rows), self._seed)
        return self._groups[entity]


def make_windows(
    reference: pd.DataFrame | TableProfile, current: pd.DataFrame, config: MonitoringConfig
) -> list[Window]:
    """A window for each market of either side, and one for all of them together where there are several."""
    old: Mapping[str, pd.DataFrame | Mapping[str, ColumnProfile]]
    old = _by_market(reference) if isinstance(reference, pd.DataFrame) else reference.markets
    new = _by_market(current)
    names = sorted(({*old} | {*new}) - {EVERY_MARKET})
    nothing: pd.DataFrame = current.iloc[:0]
    windows = [Window(name, old.get(name, nothing), new.get(name, nothing), config) for name in names]
    if len(names) != 1:
        windows.append(Window(EVERY_MARKET, old.get(EVERY_MARKET, nothing), current, config))
    return windows


def count_rows(market: str, rows: tuple[Mapping[str, int], Mapping[str, int]]) -> tuple[int, int]:
    """A market's rows, or those of all, on both sides."""
    old, new = (sum(side.values()) if market == EVERY_MARKET else side.get(market, 0) for side in rows)
    return old, new


def column_values(column: pd.Series, kind: str) -> np.ndarray:
    """Floats with NaN where absent or infinite, or objects of str and None: (R,)."""
    if kind == "categorical":
        return np.asarray(column.astype(object).where(column.notna(), None).map(str, na_action="ignore"), dtype=object)
    floats = np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan))
    return np.where(np.isfinite(floats), floats, np.nan)


def _by_market(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    return {str(name): rows for name, rows in frame.groupby("market", sort=False)} | {EVERY_MARKET: frame}


def _rows(side: pd.DataFrame | Mapping[str, ColumnProfile]) -> int:
    return len(side) if isinstance(side, pd.DataFrame) else next(iter(side.values())).rows


def _cap(rows: pd.DataFrame, config: MonitoringConfig) -> pd.DataFrame:
    if len(rows) <= config.max_rows:
        return rows
    if PRIORITY in rows:
        return rows.nsmallest(config.max_rows, PRIORITY)
    return rows.sample(config.max_rows, random_state=config.seed)
