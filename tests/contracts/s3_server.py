"""As much of S3's protocol as a folder takes: list, head, get and put of one bucket's objects, also in parts."""

from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from io import BufferedIOBase, BytesIO
from urllib.parse import parse_qs, unquote, urlsplit

from tests.loopback import Handler, on_loopback


@contextmanager
def s3_server(objects: dict[str, bytes]) -> Iterator[str]:
    """Serve key -> content on loopback, in any bucket; the endpoint's URL. `objects` may change meanwhile."""

    parts: dict[str, dict[int, bytes]] = {}

    class Answering(Handler):
        def do_GET(self) -> None:
            key, query = self._place()
            if not key and "list-type" in query:
                self._send(200, _listing(objects, query.get("prefix", [""])[0]))
            elif key not in objects:
                self._send(404, b"")
            elif self.command == "GET" and (wanted := self.headers.get("Range")):
                first, last = map(int, wanted.removeprefix("bytes=").split("-"))
                self._send(206, objects[key][first : last + 1])
            else:
                self._send(200, objects[key])

        do_HEAD = do_GET

        def do_PUT(self) -> None:
            key, query = self._place()
            body = self._sent()
            if "partNumber" in query:
                parts[query["uploadId"][0]][int(query["partNumber"][0])] = body
            else:
                objects[key] = body
            self._send(200, b"", ETag=f'"{len(body)}"')

        def do_POST(self) -> None:
            """Begin an upload in parts, or end it: its object appears then."""
            key, query = self._place()
            self.content()
            if "uploads" in query:
                upload = f"upload-{len(parts)}"
                parts[upload] = {}
                self._send(200, _result("InitiateMultipartUpload", Bucket="b", Key=key, UploadId=upload))
            else:
                done = parts[query["uploadId"][0]]
                objects[key] = b"".join(done[number] for number in sorted(done))
                self._send(200, _result("CompleteMultipartUpload", Bucket="b", Key=key, ETag="x"))

        def _place(self) -> tuple[str, dict[str, list[str]]]:
            split = urlsplit(self.path)
            key = unquote(split.path).lstrip("/").partition("/")[2]
            return key, parse_qs(split.query, keep_blank_values=True)

        def _sent(self) -> bytes:
            """The body, which the SDK cuts in chunks, with a checksum behind them, within HTTP's own chunks."""
            chunked = self.headers.get("Transfer-Encoding") == "chunked"
            body = _unchunked(self.rfile, 2) if chunked else self.content()
            if self.headers.get("Content-Encoding") == "aws-chunked":
                body = _unchunked(BytesIO(body), 0)
            return body

        def _send(self, status: int, body: bytes, **headers: str) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Last-Modified", formatdate(1e9, usegmt=True))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)
            self.wfile.flush()

    with on_loopback(Answering) as endpoint:
        yield endpoint


def _unchunked(stream: BufferedIOBase, tail: int) -> bytes:
    """Chunks of a stream, put together; `tail` bytes behind the last one are read, too."""
    whole = b""
    while size := int(stream.readline().partition(b";")[0], 16):
        whole += stream.read(size)
        stream.read(2)
    stream.read(tail)
    return whole


def _result(kind: str, **content: str) -> bytes:
    inside = "".join(f"<{name}>{value}</{name}>" for name, value in content.items())
    return f'<{kind}Result xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{inside}</{kind}Result>'.encode()


def _listing(objects: dict[str, bytes], prefix: str) -> bytes:
    found = {key: content for key, content in objects.items() if key.startswith(prefix)}
    entries = "".join(
        f"<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><Size>{len(content)}</Size>"
        "</Contents>"
        for key, content in found.items()
    )
    facts = f"<IsTruncated>false</IsTruncated><KeyCount>{len(found)}</KeyCount>"
    space = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
    return f"<ListBucketResult {space}>{facts}{entries}</ListBucketResult>".encode()
