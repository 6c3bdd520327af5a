"""What the service answers beside KServe's own errors."""

from kserve.errors import ServerNotReady


class Unavailable(ServerNotReady):  # type: ignore[misc]
    """The predictor cannot answer now: 503 over REST, UNAVAILABLE over gRPC."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        self.error_msg = reason


class ModelFailed(RuntimeError):
    """A model inside Triton failed: 500 / INTERNAL, or as `Unavailable` while a model does not answer at all."""
