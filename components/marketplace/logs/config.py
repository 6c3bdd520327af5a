"""Configuration of loading a user's log."""

from typing import Annotated

from pydantic import Field

from components.contracts.config import StageConfig


class LoadConfig(StageConfig):
    """How a user's log is loaded.

    Attributes:
        max_dropped: the largest share of a table's rows that may be dropped because they contradict other rows; above
            it the log is refused.
    """

    max_dropped: Annotated[float, Field(ge=0, lt=1)] = 0.05
