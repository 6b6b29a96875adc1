"""A clip or a film that waits at a named moment, so that its run can be ended just there.

As a script it runs in a process of its own until it gets a signal; `interrupted` is the same as a
flow, for a runner. Arguments: the prompt, the moment, and a file that is made once it has come.
"""

import asyncio
import signal
import sys
import time
from functools import wraps
from pathlib import Path
from typing import Any

import httpx
from prefect import flow

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.flows import generate_clip, produce_film
from prefect_kling.kling.request import VideoRequest
from prefect_kling.studio.film.storyboard import Storyboard
from prefect_kling.studio.money.ledger import Ledger
from prefect_kling.tasks import assemble

BLOCK = "signalled"
"""The name of both blocks."""
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


def prepare(moment: str, come: Path) -> None:
    """Make the process wait at the moment, unless the sandbox does."""
    match moment:
        case "claim":
            stop_after("claim", come)
        case "mark":
            stop_after("mark_sending", come)
        case "send":
            answer_late(come)
        case "assemble":
            assemble_late(come)


async def make(
    prompt: str, moment: str, credentials: KlingCredentials, archive: KlingArchive
) -> str:
    """Make what has such a moment, a clip or a film of two, and return its address."""
    if moment != "assemble":
        wanted = VideoRequest(model="kling-v3-omni", prompt=prompt, duration=3)
        return (await generate_clip(wanted, credentials, archive)).uri
    shots = [{"prompt": f"{prompt} {number}"} for number in range(2)]
    film = Storyboard.model_validate(
        {"title": "Signalled", "defaults": {"duration": 3}, "scenes": [{"shots": shots}]}
    )
    return (await produce_film(film, credentials, archive)).uri


async def make_and_wait(prompt: str, moment: str, come: str) -> None:
    """Make it with the stored blocks, and wait at the moment."""
    prepare(moment, Path(come))
    credentials = await KlingCredentials.aload(BLOCK)
    archive = await KlingArchive.aload(BLOCK)
    await make(prompt, moment, credentials, archive)


interrupted = flow(make_and_wait, name="interrupted")


if __name__ == "__main__":
    # A shell ignores SIGINT for what it starts in the background, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    asyncio.run(make_and_wait(*sys.argv[1:]))
