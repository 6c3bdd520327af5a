"""How a log's owner writes it, where that differs from the contract: the file `mapping.yaml` beside its tables."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, Field, ValidationError

from components.contracts.config import StageConfig, explained
from components.contracts.errors import BadInput

MAPPING = "mapping.yaml"
TableName = Literal["items", "users", "requests", "candidates", "events", "judgments"]


def _as_text(grades: Any) -> Any:
    if not isinstance(grades, dict):
        return grades
    if odd := [key for key in grades if isinstance(key, bool)]:
        raise ValueError(f"YAML reads {odd[0]} here: put the grade in quotes")
    return {str(key): value for key, value in grades.items()}


class LogMapping(StageConfig):
    """What a log's files are called inside, and how they write values; all of it optional.

    Attributes:
        columns: table -> the contract's name of a column -> its name in the file.
        numbers: how numbers are written in text, shown by 1234.5: with a point, or with thousands set apart.
        times: unit of times that are numbers: seconds or milliseconds since 1970 (UTC).
        grades: a judgment's grade as it is written -> 0 to 1, e.g. {E: 1, S: 0.1, C: 0.01, I: 0}.
        delimiter: what stands between the columns of CSV files.
        items_per_market: item ids name items of their own in each market: they become MARKET:ID in every table.
    """

    columns: dict[TableName, dict[str, str]] = Field(default_factory=dict)
    numbers: Literal["1234.50", "1,234.50", "1.234,50", "1 234,50"] | None = None
    times: Literal["s", "ms"] | None = None
    grades: Annotated[dict[str, Annotated[float, Field(ge=0, le=1)]], BeforeValidator(_as_text)] = Field(
        default_factory=dict
    )
    delimiter: Literal[",", ";", "\t", "|"] = ","
    items_per_market: bool = False

    def renamed(self, table: str, names: list[str], declared: Mapping[str, object], where: str) -> list[str]:
        """A file's column names as the contract has them: mapped, else in its letter case and without spaces around.

        Raises:
            BadInput: the mapping names a column that the file does not have.
        """
        mapped = {
            theirs: ours for name, pairs in self.columns.items() if name == table for ours, theirs in pairs.items()
        }
        absent = [theirs for theirs in mapped if theirs not in names]
        if absent:
            raise BadInput(f"{where}: no column {', '.join(absent)}, which {MAPPING} names (found: {', '.join(names)})")
        known = {name.lower(): name for name in declared if name not in names and name not in mapped.values()}
        return [mapped.get(name) or known.get(name.strip().lower(), name) for name in names]


def read_mapping(folder: Path) -> LogMapping:
    """The mapping beside a log's tables; an empty one where there is no such file.

    Raises:
        BadInput: unreadable YAML, an unknown key or value; names the key.
    """
    path = folder / MAPPING
    if not path.is_file():
        return LogMapping()
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        return LogMapping.model_validate(content)
    except ValidationError as error:
        raise BadInput(f"{path}: {explained(error)}") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadInput(f"{path}: not readable YAML ({str(error).splitlines()[0]})") from error
