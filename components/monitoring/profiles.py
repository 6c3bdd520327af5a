"""A reference without its rows: quantiles and counts of a data set's columns, to save and to compare with later.

What works from a profile as from rows: every fact (rows, columns that are gone, new or of another type, empty columns),
shares of missing values and of categories, and a number's bins, level and spread. What needs rows: rare values, which
are one category here (`RARE`); embeddings; numbers within a hundredth of the reference's rows. Users that are in both
windows don't cancel, as nobody knows them: a profile finds a little less. It says how much rows of one user (or any
other entity) tell the same, so it is not surer than it may be.

Shapes: R rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from components.contracts.errors import BadInput
from components.contracts.tools.manifest import read_json
from components.monitoring.sign_flips import bin_contributions, group_rows

KIND, VERSION = "data profile", 1
RARE = "(rare)"
_HUNDREDTHS = tuple(np.arange(1, 100) / 100)
# A value that fewer rows have is nobody's business, and one of too many to be listed.
_LEAST_ROWS = 5
_MOST_VALUES = 200


@dataclass(frozen=True)
class ColumnProfile:
    """One column of one market.

    Attributes:
        values: the column's values; of a number with many, the mean of each hundredth of its rows.
        counts: rows with each.
        edges: between hundredths; none where values are exact.
        missing: rows without a value.
        together: rows that are as good as one, because they belong to one entity.
    """

    values: Sequence[float | str]
    counts: Sequence[int]
    edges: Sequence[float]
    missing: int
    together: float

    @classmethod
    def of(cls, values: np.ndarray, entities: pd.Series | None, seed: int) -> Self:
        """The profile of values (R,): floats with NaN, or objects of str and None."""
        present = np.asarray(pd.notna(values))
        known, missing, together = values[present], int((~present).sum()), 1.0
        if entities is not None and len(known):
            groups, _ = group_rows(entities, len(values), seed)
            alike = _together_by_category if known.dtype == object else _together_by_rank
            together = max(1.0, _together((~present).astype(float), groups), alike(known, groups[present]))
        if known.dtype == object:
            counts = pd.Series(known).value_counts()
            listed = counts[counts >= _LEAST_ROWS].head(_MOST_VALUES)
            if rare := len(known) - int(listed.sum()):
                listed[RARE] = rare
            return cls(listed.index.tolist(), listed.tolist(), (), missing, together)
        distinct, counts_of = np.unique(known, return_counts=True)
        if len(distinct) <= _MOST_VALUES and counts_of.min(initial=_LEAST_ROWS) >= _LEAST_ROWS:
            return cls(distinct.tolist(), counts_of.tolist(), (), missing, together)
        edges = np.unique(np.quantile(known, _HUNDREDTHS))
        codes = np.searchsorted(edges, known, side="left")
        rows = np.bincount(codes, minlength=len(edges) + 1)
        sums = np.bincount(codes, known, minlength=len(edges) + 1)
        # An empty outer bin keeps its edge as its value.
        means = np.where(rows > 0, sums / np.maximum(rows, 1), np.r_[edges, edges[-1]])
        return cls(means.tolist(), rows.tolist(), edges.tolist(), missing, together)

    @property
    def rows(self) -> int:
        """All of them, those without a value included."""
        return sum(self.counts) + self.missing

    def expand(self) -> tuple[np.ndarray, np.ndarray]:
        """Values (R,) in order, missing ones last, and a number for each row that those as good as one share (R,)."""
        is_text = bool(self.values) and isinstance(self.values[0], str)
        values = np.repeat(np.asarray(self.values, dtype=object if is_text else float), self.counts)
        absent = np.full(self.missing, None if is_text else np.nan, dtype=values.dtype)
        return np.r_[values, absent], (np.arange(self.rows) / self.together).astype(int)

    def seen_as(self, values: np.ndarray) -> np.ndarray:
        """Other values (R,) as this profile tells them apart."""
        if values.dtype == object:
            known = pd.isna(values) | np.isin(values.astype(str), [str(value) for value in self.values])
            return np.where(known, values, RARE)
        if not self.edges:
            return values
        places = np.searchsorted(np.asarray(self.edges), values, side="left")
        return np.where(np.isnan(values), np.nan, np.asarray(self.values, dtype=float)[places])


def _together(values: np.ndarray, groups: np.ndarray) -> float:
    """By how much the variance of a mean of values (R,) is larger than of independent rows, given their groups (R,)."""
    centred = values - values.mean()
    alone = float((centred**2).sum())
    return float((np.bincount(groups, centred) ** 2).sum()) / alone if alone > 0 else 1.0


def _together_by_rank(values: np.ndarray, groups: np.ndarray) -> float:
    return _together(rankdata(values), groups)


def _together_by_category(values: np.ndarray, groups: np.ndarray) -> float:
    codes, names = pd.factorize(values)
    if len(names) < 2:
        return 1.0
    shares = np.bincount(codes) / len(codes)
    sums = bin_contributions(codes, len(names), np.ones(len(codes)), groups)
    return float(((sums**2).sum(0) / shares).sum() / (len(codes) * (len(names) - 1)))


@dataclass(frozen=True)
class TableProfile:
    """One table.

    Attributes:
        of_log: whether it is a table of a log directory.
        kinds: column -> number, text, time, flag, empty or other.
        specs: how its columns are compared, as fields of a `ColumnSpec`.
        days: how long it is.
        rows: of each market.
        markets: market, or "all" for all of them -> column -> profile.
    """

    of_log: bool
    kinds: Mapping[str, str]
    specs: Sequence[Mapping[str, Any]]
    days: float
    rows: Mapping[str, int]
    markets: Mapping[str, Mapping[str, ColumnProfile]]


def profile_content(tables: Mapping[str, TableProfile]) -> dict[str, Any]:
    """The content of profile.json."""
    return {"kind": KIND, "version": VERSION, "tables": {name: asdict(table) for name, table in tables.items()}}


def read_profile(path: Path) -> dict[str, TableProfile]:
    """The tables of a profile.json.

    Raises:
        BadInput: it is none.
    """
    try:
        content = read_json(path)
        if content["kind"] != KIND or content["version"] != VERSION:
            raise KeyError("kind")
        return {name: _table(table) for name, table in content["tables"].items()}
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(f"{path}: not a {KIND} of version {VERSION}, which a drift comparison writes") from error


def _table(content: dict[str, Any]) -> TableProfile:
    markets = {
        market: {name: ColumnProfile(**column) for name, column in columns.items()}
        for market, columns in content.pop("markets").items()
    }
    return TableProfile(**content, markets=markets)
