"""A LangSmith on 127.0.0.1 that keeps what the real client posts, in each of its three formats."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Literal

import zstandard
from langsmith import Client

Format = Literal["batch", "multipart", "zstd"]
_LIMITS = {"size_limit": 100, "size_limit_bytes": 20_000_000, "scale_up_nthreads_limit": 4, "scale_up_qsize_trigger": 9}


class Capture:
    """What was posted: `bodies`, decompressed, and the runs in them."""

    def __init__(self) -> None:
        self.bodies: list[tuple[str, bytes]] = []

    @property
    def text(self) -> str:
        """All of it as text."""
        return b"\n".join(body for _, body in self.bodies).decode()

    def outputs(self) -> list[dict[str, Any]]:
        """Return the outputs of every run that was posted with some."""
        return [outputs for content_type, body in self.bodies for outputs in _outputs(content_type, body)]


def _outputs(content_type: str, body: bytes) -> Iterator[dict[str, Any]]:
    if not content_type.startswith("multipart/"):
        runs = [run for runs in json.loads(body).values() for run in runs]
        yield from (run["outputs"] for run in runs if run.get("outputs"))
        return
    message = BytesParser().parsebytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body)
    for part in message.walk():
        name = str(part.get_param("name", header="content-disposition") or "")
        if name.endswith(".outputs") and (outputs := json.loads(bytes(part.get_payload(decode=True)))):
            yield outputs


def _handler(capture: Capture, format_: Format) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            info = {
                "batch_ingest_config": {**_LIMITS, "use_multipart_endpoint": format_ != "batch"},
                "instance_flags": {"zstd_compression_enabled": format_ == "zstd"},
            }
            self._reply(json.dumps(info).encode())

        def do_POST(self) -> None:
            body = self._body()
            if self.headers.get("Content-Encoding") == "zstd":
                body = zstandard.ZstdDecompressor().decompressobj().decompress(body)
            capture.bodies.append((self.headers["Content-Type"], body))
            self._reply(b"{}")

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers["Content-Length"]))
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        def _reply(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Stay silent."""

    return Handler


@contextmanager
def langsmith(format_: Format) -> Iterator[tuple[Client, Capture]]:
    """Run the capture; what is yielded with it is LangSmith's real client."""
    capture = Capture()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(capture, format_))
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    client = Client(api_url=f"http://127.0.0.1:{server.server_port}", api_key="x")
    try:
        yield client, capture
    finally:
        client.close()
        server.shutdown()
        thread.join()
        server.server_close()
