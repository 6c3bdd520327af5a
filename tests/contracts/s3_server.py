"""As much of S3's protocol as reading takes: list, head and get of one bucket's objects."""

from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from urllib.parse import parse_qs, unquote, urlsplit

from tests.loopback import Handler, on_loopback


@contextmanager
def s3_server(objects: dict[str, bytes]) -> Iterator[str]:
    """Serve key -> content on loopback, in any bucket; the endpoint's URL. `objects` may change meanwhile."""

    class Answering(Handler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            key, query = unquote(parts.path).lstrip("/").partition("/")[2], parse_qs(parts.query)
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

        def _send(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Last-Modified", formatdate(1e9, usegmt=True))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)
            self.wfile.flush()

    with on_loopback(Answering) as endpoint:
        yield endpoint


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
