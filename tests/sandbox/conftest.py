"""A sandbox to call, a caller for it, and a shelf that serves input files."""

import http.server
import io
import queue
import threading
import time
from collections.abc import Iterator
from typing import Any

import av
import httpx
import pytest
from PIL import Image

from prefect_kling.sandbox import Sandbox, SandboxSettings

QUICK = {"short_side": 90, "render_seconds": (0, 0)}


class Caller:
    """What a client of the API does, without the client."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.http = httpx.Client(
            base_url=sandbox.base_url,
            headers={"Authorization": f"Bearer {sandbox.key}"},
            trust_env=False,
            verify=False,
        )

    def create(self, prompt: str = "a red kite over the dunes", **more: Any) -> str:
        """Start a three-second job and return its id."""
        body = {"model": "kling-v3-omni", "prompt": prompt, "duration": "3"} | more
        reply = self.http.post("/video/generations", json=body)
        assert reply.json()["msg"] == "success"
        return str(reply.json()["data"]["taskId"])

    def poll(self, job_id: str) -> dict[str, Any]:
        """Ask once."""
        data: dict[str, Any] = self.http.get(
            "/video/generations", params={"task_id": job_id}
        ).json()["data"]
        return data

    def wait(self, job_id: str) -> dict[str, Any]:
        """Ask until the job has ended."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            data = self.poll(job_id)
            if data["state"] in ("completed", "failed"):
                return data
            time.sleep(0.03)
        raise AssertionError(f"job {job_id} did not end")

    def finish(self, prompt: str = "a red kite over the dunes", **more: Any) -> dict[str, Any]:
        """Start a job and wait for its end."""
        return self.wait(self.create(prompt, **more))

    def link(self, **more: Any) -> str:
        """Return the link of a finished clip."""
        return str(self.finish(**more)["resultUrls"][0])

    def clip(self, **more: Any) -> "Clip":
        """Return a finished clip, decoded."""
        return Clip(self.http.get(self.link(**more)).content)


class Clip:
    """A downloaded clip."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        with av.open(io.BytesIO(data)) as container:
            stream = container.streams.video[0]
            self.size, self.rate = (stream.width, stream.height), stream.average_rate
            self.seconds = float(stream.duration * stream.time_base)
            self.extradata, self.pixels = bytes(stream.codec_context.extradata), stream.pix_fmt
            self.reordered = stream.codec_context.has_b_frames
            self.sound = [
                (a.codec_context.name, a.rate, a.layout.name) for a in container.streams.audio
            ]
            frames = list(container.decode(video=0))
        self.key_frames = [index for index, frame in enumerate(frames) if frame.key_frame]
        self.frames: list[Image.Image] = [frame.to_image(threads=1) for frame in frames]


class Shelf(http.server.ThreadingHTTPServer):
    """A web server with files to fetch, that keeps what is posted to it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.posted: queue.Queue[bytes] = queue.Queue()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def put(self, name: str, content: bytes | Image.Image) -> str:
        """Offer a file, a picture as PNG, and return its address."""
        if isinstance(content, Image.Image):
            png = io.BytesIO()
            content.save(png, "PNG")
            content = png.getvalue()
        self.files[f"/{name}"] = content
        return f"{self.url}/{name}"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Shelf

    def do_GET(self) -> None:
        content = self.server.files.get(self.path)
        self.send_response(404 if content is None else 200)
        self.end_headers()
        self.wfile.write(content or b"")

    def do_POST(self) -> None:
        self.server.posted.put(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(500)  # a callback must not care
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="session")
def quick_sandbox() -> Iterator[Sandbox]:
    """One sandbox with tiny pictures for most tests."""
    with Sandbox(SandboxSettings(**QUICK, balance_usd=1000)) as sandbox:
        yield sandbox


@pytest.fixture
def caller(quick_sandbox: Sandbox) -> Iterator[Caller]:
    """A caller of a sandbox that other tests have used before."""
    caller = Caller(quick_sandbox)
    with caller.http:
        yield caller
    quick_sandbox.clear_faults()


@pytest.fixture(scope="session")
def picture_sandbox() -> Iterator[Sandbox]:
    """One sandbox with pictures worth looking at."""
    with Sandbox(SandboxSettings(**(QUICK | {"short_side": 180}), balance_usd=1000)) as sandbox:
        yield sandbox


@pytest.fixture
def gallery(picture_sandbox: Sandbox) -> Iterator[Caller]:
    """A caller of a sandbox whose pictures are large enough to look at."""
    caller = Caller(picture_sandbox)
    with caller.http:
        yield caller


@pytest.fixture
def open_sandbox() -> Iterator[Any]:
    """Open a sandbox of one's own, and get its caller."""
    opened: list[Caller] = []

    def open_one(**settings: Any) -> Caller:
        sandbox = Sandbox(SandboxSettings(**(QUICK | settings)))
        sandbox.start()
        opened.append(Caller(sandbox))
        return opened[-1]

    yield open_one
    for caller in opened:
        caller.http.close()
        caller.sandbox.stop()


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    """A web server on loopback."""
    with Shelf() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()
