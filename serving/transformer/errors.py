"""What the service answers beside KServe's own errors."""

from collections.abc import Mapping
from types import MappingProxyType

import grpc  # type: ignore[import-untyped]
from grpc_interceptor.exceptions import GrpcException
from kserve.errors import ServerNotReady


class Unavailable(ServerNotReady):  # type: ignore[misc]
    """The predictor cannot answer now: 503 over REST, UNAVAILABLE over gRPC."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        self.error_msg = reason


class NotNow(GrpcException):
    """A valid request that is not answered; `http_status` and `http_headers` say so over REST."""

    http_status: int
    http_headers: Mapping[str, str] = MappingProxyType({})

    def __init__(self, reason: str) -> None:
        super().__init__(details=reason)
        self.reason = reason


class TooLate(NotNow):
    """The caller's limit passed before the answer was there: 504 over REST, DEADLINE_EXCEEDED over gRPC."""

    status_code = grpc.StatusCode.DEADLINE_EXCEEDED
    http_status = 504


class Overloaded(NotNow):
    """Too many wait already: 429 with Retry-After (seconds) over REST, RESOURCE_EXHAUSTED over gRPC."""

    status_code = grpc.StatusCode.RESOURCE_EXHAUSTED
    http_status = 429
    http_headers = MappingProxyType({"Retry-After": "1"})


class ModelFailed(RuntimeError):
    """A model inside Triton failed: 500 / INTERNAL, or as `Unavailable` while a model does not answer at all."""
