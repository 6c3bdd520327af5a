"""As much of S3's protocol as reading takes: list, head and get of one bucket's objects."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit


@contextmanager
def s3_server(objects: dict[str, bytes]) -> Iterator[str]:
    """Serve key -> content on loopback, in any bucket; the endpoint's URL. `objects` may change meanwhile."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            key, query = unquote(parts.path).lstrip("/").partition("/")[2], parse_qs(parts.query)
            if not key and "list-type" in query:
                self._answer(200, _listing(objects, query.get("prefix", [""])[0]))
            elif key not in objects:
                self._answer(404, b"")
            elif self.command == "GET" and (wanted := self.headers.get("Range")):
                first, last = map(int, wanted.removeprefix("bytes=").split("-"))
                self._answer(206, objects[key][first : last + 1])
            else:
                self._answer(200, objects[key])

        do_HEAD = do_GET

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Last-Modified", formatdate(1e9, usegmt=True))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


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
