"""Chains of mutated redirects from the API's own host: none leads into this network."""

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO

from prefect_kling.kling.result_access import ResultAccess
from prefect_kling.studio.errors import StudioError
from prefect_kling.studio.storage.download import download
from tests.fuzz.links import mutated
from tests.fuzz.report import Report

FILE = b"a file"
HOSTS = [
    "http://127.0.0.1:{port}/{step}",
    "/{step}",
    "{step}",
    "//127.0.0.1:{port}/{step}",
    "http://localhost:{port}/{step}",
    "http://127.0.0.1:{other}/forbidden",
    "http://[::1]:{other}/forbidden",
    "http://0x7f.1:{other}/forbidden",
    "http://169.254.169.254/latest",
    "file:///etc/passwd",
    "ftp://127.0.0.1/x",
]
STATUSES = [301, 302, 303, 307, 308, 300, 304, 399]


class _Server(ThreadingHTTPServer):
    """Redirects as the path decides; `forbidden` counts the calls that must not come."""

    daemon_threads = True
    forbidden = 0
    other = 0


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        """Answer with a redirect, or with a file after a few of them."""
        if "forbidden" in self.path:
            self.server.forbidden += 1
        chance = random.Random(self.path)
        if chance.random() < 0.4:
            self.send_response(200)
            self.send_header("Content-Length", str(len(FILE)))
            self.end_headers()
            self.wfile.write(FILE)
            return
        self.send_response(chance.choice(STATUSES))
        location = chance.choice(HOSTS).format(
            port=self.server.server_port, other=self.server.other, step=chance.randrange(10**6)
        )
        if chance.random() < 0.5:
            location = mutated(location, chance)
        raw = location.replace("\r", "").replace("\n", " ").encode("utf-8", "surrogatepass")
        self._headers_buffer.append(b"Location: " + raw + b"\r\n")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def _serving() -> Iterator[_Server]:
    server = _Server(("127.0.0.1", 0), _Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def fuzz_redirects(cases: int, first_seed: int = 0) -> Report:
    """Follow so many chains; another port of this machine is never asked."""
    report = Report("redirects")
    with _serving() as server, _serving() as other:
        server.other = other.server_port
        api = f"http://127.0.0.1:{server.server_port}"
        for seed in range(first_seed, first_seed + cases):
            with report.case(str(seed)):
                try:
                    download(
                        f"{api}/{seed}",
                        BytesIO(),
                        5.0,
                        1000,
                        0.0,
                        access=ResultAccess(f"{api}/api/v1"),
                    )
                except StudioError as error:
                    str(error).encode()
                assert other.forbidden == 0, "another port was asked"
    return report
