"""The body of a REST request: how large it may be, and how it may be compressed."""

import zlib

from fastapi import Request

from components.contracts.errors import BadInput
from serving.transformer.dataplane import MAX_BODY_BYTES
from serving.transformer.errors import ENCODINGS, UnsupportedEncoding
from serving.transformer.validation import shorten

_GZIP = 16 + zlib.MAX_WBITS


async def read_body(request: Request) -> bytes:
    """A request's body, decompressed; `MAX_BODY_BYTES` holds before and after.

    Raises:
        BadInput: it is too large, or not compressed as it says.
        UnsupportedEncoding: it is compressed in another way than gzip or deflate.
    """
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ENCODINGS:
        raise UnsupportedEncoding(f"header Content-Encoding is {shorten(encoding)} (read: {', '.join(ENCODINGS)})")
    announced = int(request.headers.get("content-length", "0"))  # uvicorn lets nothing but digits pass
    if announced > MAX_BODY_BYTES and "expect" in request.headers:
        raise BadInput(f"body of {announced} bytes, at most {MAX_BODY_BYTES}")
    body, size = bytearray(), 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= MAX_BODY_BYTES:
            body += chunk
        elif size > 2 * MAX_BODY_BYTES:  # until then it is read on: a client that still writes does not see the answer
            break
    if size > MAX_BODY_BYTES:
        raise BadInput(f"body of more than {MAX_BODY_BYTES} bytes")
    return bytes(body) if encoding == "identity" else _decompressed(bytes(body), encoding)


def _decompressed(body: bytes, encoding: str) -> bytes:
    # Deflate is zlib's format by the standard; some clients send the bare stream.
    bare = encoding == "deflate" and not (body[:1] and body[0] & 15 == 8 and int.from_bytes(body[:2], "big") % 31 == 0)
    stream = zlib.decompressobj(_GZIP if encoding == "gzip" else -zlib.MAX_WBITS if bare else zlib.MAX_WBITS)
    try:
        plain = stream.decompress(body, MAX_BODY_BYTES + 1)
    except zlib.error as error:
        raise BadInput(f"body: not {encoding} as its header Content-Encoding says ({error})") from error
    if len(plain) > MAX_BODY_BYTES:
        raise BadInput(f"body of more than {MAX_BODY_BYTES} bytes when decompressed")
    if not stream.eof:
        raise BadInput(f"body: its {encoding} stream ends too early, after {len(body)} bytes")
    if stream.unused_data:
        raise BadInput(f"body: {len(stream.unused_data)} bytes after the end of its {encoding} stream")
    return plain
