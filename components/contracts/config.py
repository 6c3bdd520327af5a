"""Base of every stage's configuration."""

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from components.contracts.errors import BadInput


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

    @classmethod
    def of_structure(cls, structure: Mapping[str, Any]) -> Self:
        """The configuration that a pipeline's parameter holds, as `structure` made it or a person changed it.

        Raises:
            BadInput: an unknown key or a value out of range; names the section and the key.
        """
        try:
            return cls.model_validate(structure)
        except ValidationError as error:
            raise BadInput(f"{cls.__name__}: {explained(error)}") from error


def explained(error: ValidationError) -> str:
    """The first thing that a validation found, in one line: where, what, and how many there are in all."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']} ({error.error_count()} in all)"
