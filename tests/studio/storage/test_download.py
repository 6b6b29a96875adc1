"""Downloads arrive whole, counted and hashed, from servers that misbehave in every known way."""

import hashlib
import io
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from prefect_kling.kling.result_access import ResultAccess
from prefect_kling.studio.errors import (
    DownloadBroken,
    InputUnusable,
    LinkExpired,
    LinkForbidden,
)
from prefect_kling.studio.storage.download import Stop, download

CONTENT = bytes(range(256)) * 4000  # a million bytes, each place told from its neighbours
OTHER = CONTENT[::-1]
HERE = ResultAccess("http://127.0.0.1/")


class Served(BaseHTTPRequestHandler):
    """Answers with the script of the test that runs."""

    script: Callable[["Served", int], None]
    count = 0

    def do_GET(self) -> None:
        """Answer one request."""
        type(self).count += 1
        type(self).script(self, type(self).count)

    def log_message(self, *args: object) -> None:
        """Say nothing."""

    def answer(self, status: int, body: bytes, *, cut: int | None = None, **headers: str) -> None:
        """Send an answer; with `cut`, close the connection after so many bytes of the body."""
        self.send_response(status)
        for name, value in (
            {"content_length": str(len(body)), "connection": "close"} | headers
        ).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body if cut is None else body[:cut])

    def serve_range(self, content: bytes, *, etag: str, cut: int | None = None) -> None:
        """Behave like a file server that knows ranges."""
        wanted = self.headers.get("Range", "")
        if wanted and self.headers.get("If-Range") == etag:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            place = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self.answer(206, content[start:], cut=cut, etag=etag, content_range=place)
        else:
            self.answer(200, content, cut=cut, etag=etag)


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[Served, int], None]], str]]:
    """Start a server that follows a script, and give its address."""
    servers: list[ThreadingHTTPServer] = []

    def start(script: Callable[[Served, int], None]) -> str:
        handler = type("Scripted", (Served,), {"script": staticmethod(script), "count": 0})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}/v.mp4"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def fetch(url: str) -> bytes:
    """Download into memory and check what is said about it."""
    file = io.BytesIO()
    received = download(url, file, pause_seconds=0.0, access=HERE)
    assert received.size == len(file.getvalue())
    assert received.sha256 == hashlib.sha256(file.getvalue()).hexdigest()
    return file.getvalue()


def test_a_whole_file_arrives(serve: Callable[..., str]) -> None:
    """Length and hash are those of the bytes."""
    assert fetch(serve(lambda get, count: get.answer(200, CONTENT))) == CONTENT


def test_a_dropped_download_goes_on_where_it_ended(serve: Callable[..., str]) -> None:
    """A connection that dies every 100 000 bytes still ends in the right file."""
    seen: list[str] = []

    def dying(get: Served, count: int) -> None:
        seen.append(get.headers.get("Range", ""))
        get.serve_range(CONTENT, etag='"a"', cut=100_000)

    assert fetch(serve(dying)) == CONTENT
    assert seen[0] == ""
    assert seen[1].startswith("bytes=")
    assert len(seen) >= 11


def test_a_file_that_changed_meanwhile_starts_over(serve: Callable[..., str]) -> None:
    """Two versions are never glued together."""

    def changing(get: Served, count: int) -> None:
        if count == 1:
            get.serve_range(CONTENT, etag='"a"', cut=300_000)
        else:
            get.serve_range(OTHER, etag='"b"')

    assert fetch(serve(changing)) == OTHER


def test_a_server_without_ranges_starts_over(serve: Callable[..., str]) -> None:
    """A 200 in answer to a range is the whole file again."""

    def plain(get: Served, count: int) -> None:
        get.answer(200, CONTENT, cut=300_000 if count == 1 else None, etag='"a"')

    assert fetch(serve(plain)) == CONTENT


def test_a_range_that_does_not_fit_starts_over(serve: Callable[..., str]) -> None:
    """A 206 that begins elsewhere is not appended."""

    def lying(get: Served, count: int) -> None:
        if count == 1:
            get.serve_range(CONTENT, etag='"a"', cut=300_000)
        elif count == 2:
            get.answer(
                206,
                CONTENT[5:],
                etag='"a"',
                content_range=f"bytes 5-{len(CONTENT) - 1}/{len(CONTENT)}",
            )
        else:
            get.serve_range(CONTENT, etag='"a"')

    assert fetch(serve(lying)) == CONTENT


def test_a_weak_etag_is_no_ground_to_go_on(serve: Callable[..., str]) -> None:
    """Weakly equal files may differ in bytes: no range is asked for."""
    seen: list[str | None] = []

    def weak(get: Served, count: int) -> None:
        seen.append(get.headers.get("Range"))
        get.answer(200, CONTENT, cut=300_000 if count == 1 else None, etag='W/"a"')

    assert fetch(serve(weak)) == CONTENT
    assert seen == [None, None]


def test_trouble_at_the_server_passes(serve: Callable[..., str]) -> None:
    """5xx and 429 are tried again."""

    def recovering(get: Served, count: int) -> None:
        get.answer(503 if count == 1 else 429, b"") if count < 3 else get.answer(200, CONTENT)

    assert fetch(serve(recovering)) == CONTENT


def test_trouble_in_the_middle_keeps_what_has_arrived(serve: Callable[..., str]) -> None:
    """A 503 between two parts does not cost the first part."""
    asked: list[str] = []

    def troubled(get: Served, count: int) -> None:
        asked.append(get.headers.get("Range", ""))
        if count == 2:
            get.answer(503, b"")
        else:
            get.serve_range(CONTENT, etag='"a"', cut=600_000 if count == 1 else None)

    assert fetch(serve(troubled)) == CONTENT
    assert asked[1] == asked[2] != ""


def test_trouble_that_stays_is_told(serve: Callable[..., str]) -> None:
    """Three rounds without a new byte are the end."""
    with pytest.raises(DownloadBroken, match="stopped after 0 bytes"):
        fetch(serve(lambda get, count: get.answer(503, b"")))


def test_a_download_that_never_ends_is_told(serve: Callable[..., str]) -> None:
    """A file that always breaks at the same place is given up, not looped over."""

    def stuck(get: Served, count: int) -> None:
        get.answer(200, CONTENT, cut=0)

    with pytest.raises(DownloadBroken, match="of 1,024,000 bytes"):
        fetch(serve(stuck))


def test_a_slow_download_ends_at_its_deadline(serve: Callable[..., str]) -> None:
    """The total time is bounded, whatever trickles in."""
    with pytest.raises(DownloadBroken, match="too slow"):
        download(
            serve(lambda get, count: get.answer(200, CONTENT)),
            io.BytesIO(),
            total_seconds=-1,
            access=HERE,
        )


@pytest.mark.parametrize("status", [404, 410])
def test_a_dead_link_is_expired_at_once(status: int, serve: Callable[..., str]) -> None:
    """404 and 410 ask for a fresh link."""
    seen: list[int] = []

    def dead(get: Served, count: int) -> None:
        seen.append(count)
        get.answer(status, b"")

    with pytest.raises(LinkExpired):
        fetch(serve(dead))
    assert len(seen) == 1


def test_a_forbidden_link_is_tried_once_more_as_a_browser(serve: Callable[..., str]) -> None:
    """One of the operator's hosts refuses plain clients; a link that is refused twice is dead."""

    def picky(get: Served, count: int) -> None:
        is_browser = get.headers["User-Agent"].startswith("Mozilla/5.0")
        get.answer(200, CONTENT) if is_browser else get.answer(403, b"")

    assert fetch(serve(picky)) == CONTENT
    with pytest.raises(LinkExpired):
        fetch(serve(lambda get, count: get.answer(403, b"")))


def test_no_key_is_sent_to_the_file_host(serve: Callable[..., str]) -> None:
    """Result links need no key and get none."""
    seen: list[str | None] = []

    def nosy(get: Served, count: int) -> None:
        seen.append(get.headers.get("Authorization"))
        get.answer(200, CONTENT)

    fetch(serve(nosy))
    assert seen == [None]


def slow_body(get: Served, count: int) -> None:
    """Send a byte now and then."""
    get.send_response(200)
    get.send_header("content-length", "1000000")
    get.end_headers()
    with suppress(OSError):
        while True:
            get.wfile.write(b"x")
            time.sleep(0.05)


def silent_body(get: Served, count: int) -> None:
    """Send the beginning, and then nothing until the client leaves."""
    get.send_response(200)
    get.send_header("content-length", "1000000")
    get.end_headers()
    get.wfile.write(b"x")
    get.rfile.read(1)


def silent(get: Served, count: int) -> None:
    """Take the request and send nothing until the client leaves."""
    get.rfile.read(1)


@pytest.mark.parametrize("script", [slow_body, silent_body, silent])
def test_a_download_ends_soon_after_it_is_stopped(
    script: Callable[[Served, int], None], serve: Callable[..., str]
) -> None:
    """A stop reaches the thread, trickle or silence, and no attempt follows."""
    asked = threading.Event()
    count = 0

    def watched(get: Served, number: int) -> None:
        nonlocal count
        count = number
        asked.set()
        script(get, number)

    stop = Stop()
    ends: list[BaseException] = []

    def run() -> None:
        try:
            download(serve(watched), io.BytesIO(), stop=stop, access=HERE)
        except DownloadBroken as error:
            ends.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert asked.wait(10)
    stop.set()
    thread.join(5)
    assert not thread.is_alive()
    assert "stopped" in str(ends[0])
    assert count == 1


@pytest.mark.parametrize("link", ["http://[::1", "not a link", "ftp://a.example/v", "http://a\nb/"])
def test_what_is_no_link_is_expired(link: str) -> None:
    """Whatever stands where a link belongs, the error is one of ours."""
    with pytest.raises((LinkExpired, DownloadBroken)):
        download(link, io.BytesIO(), pause_seconds=0, access=HERE)


def test_wrong_ranges_are_found_by_an_md5_tag(serve: Callable[..., str]) -> None:
    """A file that was continued and contradicts its entity tag is fetched anew, in one piece."""
    tag = f'"{hashlib.md5(CONTENT).hexdigest()}"'
    asked: list[str] = []

    def lying(get: Served, count: int) -> None:
        asked.append(get.headers.get("Range", ""))
        if count == 1:
            get.serve_range(CONTENT, etag=tag, cut=300_000)
        elif count == 2:
            get.serve_range(OTHER, etag=tag)
        else:
            get.serve_range(CONTENT, etag=tag)

    assert fetch(serve(lying)) == CONTENT
    assert asked[0] == asked[2] == ""


def test_a_file_from_pieces_says_so(serve: Callable[..., str]) -> None:
    """Without an MD5 as its tag, whoever takes the file has to verify the whole of it."""

    def cut(get: Served, count: int) -> None:
        get.serve_range(CONTENT, etag='"a"', cut=300_000 if count == 1 else None)

    assert download(serve(cut), io.BytesIO(), pause_seconds=0, access=HERE).is_pieced
    whole = download(serve(cut), io.BytesIO(), pause_seconds=0, may_resume=False, access=HERE)
    assert not whole.is_pieced


def test_a_wrong_length_does_not_start_over_for_ever(serve: Callable[..., str]) -> None:
    """A server that promises more than it has is given up after a few attempts."""

    def longer(get: Served, count: int) -> None:
        if get.headers.get("Range"):
            get.answer(416, b"")
        else:
            get.answer(200, CONTENT, etag='"a"', content_length=str(len(CONTENT) + 9))

    file = io.BytesIO()
    with pytest.raises(DownloadBroken):
        download(serve(longer), file, pause_seconds=0, access=HERE)
    assert file.getvalue() == CONTENT


def test_a_redirect_within_the_host_of_the_file_is_followed(serve: Callable[..., str]) -> None:
    """Hosts of files redirect to where the file lies."""

    def moved(get: Served, count: int) -> None:
        if count == 1:
            get.answer(302, b"", location="/elsewhere.mp4")
        else:
            get.answer(200, CONTENT)

    assert fetch(serve(moved)) == CONTENT


def test_a_redirect_to_another_service_of_this_machine_is_not_opened(
    serve: Callable[..., str],
) -> None:
    """Nothing is asked there, nothing of it is told, and no attempt follows."""
    asked: list[int] = []

    def inside(get: Served, count: int) -> None:
        asked.append(count)
        get.answer(200, b'{"SecretAccessKey": "foreign"}')

    target = serve(inside)
    tried: list[int] = []

    def moved(get: Served, count: int) -> None:
        tried.append(count)
        get.answer(302, b"", location=target)

    with pytest.raises(LinkForbidden) as caught:
        download(serve(moved), io.BytesIO(), access=HERE)
    assert (asked, tried) == ([], [1])
    assert "foreign" not in str(caught.value)
    assert target not in str(caught.value)


@pytest.mark.parametrize("hops", [0, 1, 3])
@pytest.mark.parametrize(
    "host",
    ["10.255.255.1", "192.168.255.1", "169.254.169.254", "[fe80::1]", "[fd00::7]", "0x7f.1"],
)
def test_no_redirect_leads_to_an_address_that_is_not_public(
    host: str, hops: int, serve: Callable[..., str]
) -> None:
    """At the first redirect, and behind others that were allowed."""
    tried: list[int] = []

    def moved(get: Served, count: int) -> None:
        tried.append(count)
        location = f"/{count}.mp4"
        if count > hops:
            location = f"http://{host}:8000/v.mp4"
        get.answer(302, b"", location=location)

    with pytest.raises(LinkForbidden, match="redirects to an address") as caught:
        download(serve(moved), io.BytesIO(), access=HERE)
    assert len(tried) == hops + 1
    assert host not in str(caught.value)


def test_a_link_into_this_machine_is_not_opened_for_an_api_elsewhere(
    serve: Callable[..., str],
) -> None:
    """By number and by name."""
    asked: list[int] = []
    link = serve(lambda get, count: asked.append(count))
    for host in ("127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]"):
        with pytest.raises(LinkForbidden):
            download(link.replace("127.0.0.1", host), io.BytesIO())
    assert asked == []


def test_a_name_that_changes_its_address_is_caught_at_the_connection(
    serve: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name whose second answer is this machine: nothing is sent there."""
    asked: list[int] = []
    link = serve(lambda get, count: asked.append(count))
    real = socket.getaddrinfo
    looked_up: list[str] = []

    def rebinding(host: str, *rest: Any, **more: Any) -> Any:
        if host != "rebinding.test":
            return real(host, *rest, **more)
        looked_up.append(host)
        number = "8.8.8.8"
        if len(looked_up) > 1:
            number = "127.0.0.1"
        return real(number, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    with pytest.raises(LinkForbidden):
        download(link.replace("127.0.0.1", "rebinding.test"), io.BytesIO())
    assert len(looked_up) == 2
    assert asked == []


def test_redirects_come_to_an_end(serve: Callable[..., str]) -> None:
    """A circle is no file."""
    with pytest.raises(DownloadBroken):
        download(
            serve(lambda get, count: get.answer(302, b"", location="/v.mp4")),
            io.BytesIO(),
            pause_seconds=0,
            access=HERE,
        )


@pytest.mark.parametrize("is_counted", [True, False])
def test_an_endless_file_is_ended(is_counted: bool, serve: Callable[..., str]) -> None:
    """No more is taken than is allowed, whether the server says how long it is or not."""
    sent = 0

    def endless(get: Served, count: int) -> None:
        nonlocal sent
        get.send_response(200)
        if is_counted:
            get.send_header("content-length", str(10**12))
        get.send_header("connection", "close")
        get.end_headers()
        with suppress(OSError):
            while sent < 10**9:
                sent += get.connection.send(b"x" * 65536)

    file = io.BytesIO()
    with pytest.raises(InputUnusable, match="more than"):
        download(serve(endless), file, most_bytes=2_000_000, access=HERE)
    assert 2_000_000 < len(file.getvalue()) < 2_200_000
    assert sent < 20_000_000


def test_one_byte_per_connection_is_no_progress(serve: Callable[..., str]) -> None:
    """A server that gives a byte at a time would be asked a million times."""
    count = 0

    def miserly(get: Served, number: int) -> None:
        nonlocal count
        count = number
        start = 0
        if get.headers.get("Range"):
            start = int(get.headers["Range"].removeprefix("bytes=").rstrip("-"))
        get.serve_range(CONTENT, etag='"a"', cut=1)
        assert start < len(CONTENT)

    with pytest.raises(DownloadBroken, match="stopped after"):
        download(serve(miserly), io.BytesIO(), pause_seconds=0, access=HERE)
    assert count <= 4


def test_a_file_that_starts_over_for_ever_is_ended(serve: Callable[..., str]) -> None:
    """Without ranges a little more arrives each time: what is taken in all is bounded, too."""
    taken = 0

    def growing(get: Served, count: int) -> None:
        nonlocal taken
        cut = 100_000 + 2000 * count
        taken += cut
        get.answer(200, CONTENT, cut=cut)

    with pytest.raises(InputUnusable):
        download(serve(growing), io.BytesIO(), most_bytes=1_000_000, pause_seconds=0, access=HERE)
    assert taken < 5_000_000


def test_what_a_server_says_that_speaks_no_http_is_not_told(serve: Callable[..., str]) -> None:
    """Other services greet whoever connects, and some of them with a secret."""

    def greeting(get: Served, count: int) -> None:
        get.wfile.write(b"220 foreign-secret ready\r\n" * 20)

    with pytest.raises(DownloadBroken) as caught:
        download(serve(greeting), io.BytesIO(), pause_seconds=0, access=HERE)
    assert "foreign-secret" not in str(caught.value)
