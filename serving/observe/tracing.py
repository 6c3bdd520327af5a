"""OpenTelemetry traces of requests, sent over OTLP/HTTP where a flag says so; without it nothing is imported.

Spans: the request (its parent is the caller's, by the header or metadata `traceparent`), and within it each stage.
Calls to Triton carry `traceparent` on. No text of a request is put into a span.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from components.contracts.errors import BadInput

# A collector that is gone must not hold up the end of a server.
_SEND_S = 2.0
_NOTHING: AbstractContextManager[None] = nullcontext()
# One of each per process, as OpenTelemetry has it.
_provider: Any = None
_tracer: Any = None


def start(endpoint: str, release: str) -> None:
    """Send spans to an OTLP/HTTP collector, e.g. ``http://127.0.0.1:4318``, by batches in a thread of their own.

    Raises:
        BadInput: the packages of the extra `tracing` are not installed.
    """
    global _provider, _tracer
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise BadInput(f"traces need the packages of the extra 'tracing' ({error})") from error
    _provider = TracerProvider(
        resource=Resource.create({"service.name": "archipelago", "service.version": release}), shutdown_on_exit=False
    )
    _provider.add_span_processor(
        BatchSpanProcessor(OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=_SEND_S))
    )
    _tracer = _provider.get_tracer("archipelago")


def stop() -> None:
    """Send what is left."""
    if _provider is not None:
        _provider.shutdown()


def span(name: str, caller: Mapping[str, str] | None = None) -> AbstractContextManager[Any]:
    """A span within the current one, or within `caller`'s, whose headers are given for the request's own span."""
    if _tracer is None:
        return _NOTHING
    if caller is None:
        return _tracer.start_as_current_span(name)  # type: ignore[no-any-return]
    from opentelemetry import propagate
    from opentelemetry.trace import SpanKind

    return _tracer.start_as_current_span(  # type: ignore[no-any-return]
        name, context=propagate.extract(dict(caller)), kind=SpanKind.SERVER
    )


def carried() -> list[tuple[str, str]] | None:
    """The current span as gRPC metadata for a call to another service; None without traces."""
    if _tracer is None:
        return None
    from opentelemetry import propagate

    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return list(carrier.items())
