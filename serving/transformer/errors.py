"""What is answered instead of a result, over each protocol."""

import traceback
from collections.abc import Mapping
from types import MappingProxyType

import grpc  # type: ignore[import-untyped]
from kserve.errors import InvalidInput

from components.contracts.errors import BadInput
from components.contracts.tools.log import get_logger

ENCODINGS = ("gzip", "deflate", "identity")
_logger = get_logger(__name__)


class ServiceError(Exception):
    """Answered with its own status and message."""

    http_status = 500
    grpc_status = grpc.StatusCode.INTERNAL
    http_headers: Mapping[str, str] = MappingProxyType({})


class NotFound(ServiceError):
    """No such model, or no such version of it."""

    http_status = 404
    grpc_status = grpc.StatusCode.NOT_FOUND


class UnsupportedEncoding(ServiceError):
    """A body compressed in a way that this service does not read."""

    http_status = 415
    grpc_status = grpc.StatusCode.INVALID_ARGUMENT
    http_headers = MappingProxyType({"Accept-Encoding": ", ".join(ENCODINGS)})


class Unavailable(ServiceError):
    """The service, or what is behind it, cannot answer now."""

    http_status = 503
    grpc_status = grpc.StatusCode.UNAVAILABLE


class TooLate(ServiceError):
    """The caller's limit passed before the answer was there."""

    http_status = 504
    grpc_status = grpc.StatusCode.DEADLINE_EXCEEDED


class Overloaded(ServiceError):
    """Too many wait already; may be asked again after some seconds."""

    http_status = 429
    grpc_status = grpc.StatusCode.RESOURCE_EXHAUSTED
    http_headers = MappingProxyType({"Retry-After": "1"})


class ModelFailed(ServiceError):
    """A model inside Triton failed."""


def answer(error: Exception, where: str) -> ServiceError:
    """What to answer for any exception; a failure is one line in the log, and told only where it was expected."""
    if isinstance(error, InvalidInput | BadInput):
        return _Refused(str(error))
    if isinstance(error, ServiceError) and error.http_status != ServiceError.http_status:
        return error
    frame = traceback.extract_tb(error.__traceback__)[-1:]
    place = f"{frame[0].filename}:{frame[0].lineno}" if frame else "unknown place"
    # repr and ascii: nothing that a caller sent makes a second line.
    _logger.error("%s failed: %s: %s (%s)", where, type(error).__name__, ascii(str(error))[:500], place)
    if isinstance(error, ServiceError):
        return error
    return ServiceError(f"internal error ({type(error).__name__}); the service's log says more")


class _Refused(ServiceError):
    """The caller's mistake."""

    http_status = 400
    grpc_status = grpc.StatusCode.INVALID_ARGUMENT
