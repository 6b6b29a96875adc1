"""A proxy before the S3 server that spoils chosen calls; it keeps Host, so signatures hold."""

import http.client
import re
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

RESET, LOST, UNAVAILABLE, FORBIDDEN = "reset", "lost", "503", "403"
"""The connection dies before the call, or with the answer; the store fails; the store refuses."""
_SAYS = {UNAVAILABLE: (503, "ServiceUnavailable"), FORBIDDEN: (403, "AccessDenied")}
# What proves the store comes before any claim (tests/studio/storage/test_preflight.py).
_LEDGER_CALL = re.compile(r"/[^/]+/(?P<prefix>[^/]+)/ledger/(?!probe-)")


class FaultProxy(ThreadingHTTPServer):
    """Counts each archive's calls about its ledger, and spoils the ones it was asked to spoil."""

    daemon_threads = True

    def __init__(self, endpoint: str) -> None:
        super().__init__(("127.0.0.1", 0), _Call)
        self.store = urlsplit(endpoint).netloc
        self.calls: dict[str, list[str]] = {}
        self._faults: dict[tuple[str, int], str] = {}
        self._lock = threading.Lock()

    @property
    def endpoint(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def spoil(self, prefix: str, number: int, kind: str) -> None:
        """Spoil the archive's ledger call of this number, counted from 0, once."""
        self._faults[prefix, number] = kind

    def meet(self, method: str, path: str) -> str | None:
        """Count a call, and return how it goes wrong, None if it does not."""
        found = _LEDGER_CALL.match(path)
        if found is None:
            return None
        with self._lock:
            calls = self.calls.setdefault(found["prefix"], [])
            calls.append(f"{method} {path[found.end() :].split('?')[0]}")
            return self._faults.get((found["prefix"], len(calls) - 1))

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: connections end in the middle here."""


class _Call(BaseHTTPRequestHandler):
    server: FaultProxy
    protocol_version = "HTTP/1.1"

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        kind = self.server.meet(self.command, self.path)
        if kind in _SAYS:
            status, code = _SAYS[kind]
            self._answer(
                status,
                [],
                f"<Error><Code>{code}</Code><Message>on order</Message></Error>".encode(),
            )
        elif kind == RESET:
            self._hang_up()
        else:
            status, headers, answer = self._ask(body)
            if kind == LOST:
                self._hang_up()
            else:
                self._answer(status, headers, answer)

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _pass_on  # noqa: N815  named by http.server

    def _ask(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        store = http.client.HTTPConnection(self.server.store, timeout=30)
        try:
            store.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() != "expect":
                    store.putheader(name, value)
            store.endheaders(body)
            answer = store.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            store.close()

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        length = dict(headers).get("Content-Length", "0")
        if self.command != "HEAD":
            length = str(len(body))
        if status not in (204, 304):
            self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _hang_up(self) -> None:
        """Reset the connection: with linger at zero, closing sends RST."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.rfile.close()
        self.connection.close()
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  named by http.server
        """Say nothing."""


@contextmanager
def fault_proxy(endpoint: str) -> Iterator[FaultProxy]:
    """Run a proxy in front of a store until the block ends."""
    with FaultProxy(endpoint) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()
