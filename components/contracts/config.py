"""Base of every stage's configuration."""

from pydantic import BaseModel, ConfigDict


class StageConfig(BaseModel):
    """Frozen and strict: a misspelt key in a profile is an error, and no stage changes its own configuration.

    A stage's model travels to its KFP component as JSON text (`model_dump_json`), because a KFP struct turns
    integers into floats.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())
