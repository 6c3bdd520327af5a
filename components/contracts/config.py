"""Base of every stage's configuration."""

from typing import Any

from pydantic import BaseModel, ConfigDict


class StageConfig(BaseModel):
    """Frozen and strict: a misspelt key in a profile is an error, and no stage changes its own configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    @property
    def structure(self) -> dict[str, Any]:
        """As a parameter of a KFP pipeline, from which validation makes the same configuration again.

        KFP's structures turn whole numbers into floats, which validation mends, and have no null: a field that may be
        null is so by default, and is left out.
        """
        return self.model_dump(mode="json", exclude_none=True)
