"""How trainings end that don't end well."""

from components.contracts.errors import ArchipelagoError


class TrainingFailed(ArchipelagoError):
    """One of the processes that trained a model ended with an error; its own message stands above."""
