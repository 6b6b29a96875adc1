"""A flow run in a process of its own that waits at a named moment until it gets a signal.

Arguments: the prompt, the moment, and a file that is made once the moment has come.
"""

import asyncio
import signal
import sys
import time
from functools import wraps
from pathlib import Path
from typing import Any

import httpx

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.flows import generate_clip, produce_film
from prefect_kling.kling.request import VideoRequest
from prefect_kling.studio.film.storyboard import Storyboard
from prefect_kling.studio.money.ledger import Ledger
from prefect_kling.tasks import assemble

MOMENTS = ("claim", "mark", "send", "wait", "download")
"""The moments of a clip; `assemble` is one of a film."""
WAIT_SECONDS = 2.0


def stop_after(name: str, come: Path) -> None:
    """Let a method of the ledger return late, so that the signal comes in between."""
    original = getattr(Ledger, name)

    @wraps(original)
    def slow(*args: Any) -> Any:
        result = original(*args)
        come.touch()
        time.sleep(WAIT_SECONDS)
        return result

    setattr(Ledger, name, slow)


def answer_late(come: Path) -> None:
    """Let the answer to a paid call arrive late; the API has taken the request by then."""
    original = httpx.AsyncHTTPTransport.handle_async_request

    async def slow(transport: httpx.AsyncHTTPTransport, request: httpx.Request) -> httpx.Response:
        response = await original(transport, request)
        if request.method == "POST" and request.url.path.endswith("/video/generations"):
            come.touch()  # noqa: ASYNC240  the moment has come, whatever it takes
            await asyncio.sleep(WAIT_SECONDS)
        return response

    httpx.AsyncHTTPTransport.handle_async_request = slow  # type: ignore[method-assign]


def assemble_late(come: Path) -> None:
    """Let the joining of a film begin late."""
    original = assemble.assemble

    def slow(*args: Any) -> Any:
        come.touch()
        time.sleep(WAIT_SECONDS)
        return original(*args)

    assemble.assemble = slow


def film_of(prompt: str) -> Storyboard:
    """Two shots with a cut between them."""
    shots = [{"prompt": f"{prompt} {number}"} for number in range(2)]
    return Storyboard.model_validate(
        {"title": "Signalled", "defaults": {"duration": 3}, "scenes": [{"shots": shots}]}
    )


def prepare(moment: str, come: Path) -> None:
    """Make the process wait at the moment; for `wait` and `download` the sandbox is slow."""
    match moment:
        case "claim":
            stop_after("claim", come)
        case "mark":
            stop_after("mark_sending", come)
        case "send":
            answer_late(come)
        case "assemble":
            assemble_late(come)


if __name__ == "__main__":
    # A shell ignores SIGINT for what it starts in the background, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    prepare(sys.argv[2], Path(sys.argv[3]))
    credentials = KlingCredentials.load("signalled")
    archive = KlingArchive.load("signalled")
    if sys.argv[2] == "assemble":
        asyncio.run(produce_film(film_of(sys.argv[1]), credentials, archive))
    else:
        wanted = VideoRequest(model="kling-v3-omni", prompt=sys.argv[1], duration=3)
        asyncio.run(generate_clip(wanted, credentials, archive))
