"""A clip by one synchronous call, for scripts and notebooks."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from anyio.from_thread import start_blocking_portal
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS,
    temporary_settings,
)

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.blocks.environment import (
    archive_from_environment,
    credentials_from_environment,
    is_complete,
)
from prefect_kling.blocks.load import BlockMissing, load_block
from prefect_kling.flows.clip import generate_clip
from prefect_kling.kling.addresses import host_of
from prefect_kling.kling.prices import quote
from prefect_kling.kling.request import VideoRequest
from prefect_kling.runs.spending import Spending
from prefect_kling.studio.money.archive import Clip
from prefect_kling.telemetry.logs import run_logger

T = TypeVar("T")
MODEL = "kling-v3-omni"
"""What makes a clip unless a model is named."""
EPHEMERAL_START_SECONDS = 120
"""How long Prefect's temporary server may take to start; Prefect itself gives up after 20."""


def generate_clip_sync(
    request: VideoRequest | str,
    *,
    credentials: KlingCredentials | str | None = None,
    archive: KlingArchive | str | None = None,
    take: int = 1,
    spending: Spending = Spending(),
    **parameters: Any,
) -> Clip:
    """Make one clip and return it once it is archived: `generate_clip` for code without `await`.

    **Costs what `quote(request)` says, once**; the price and where it goes are logged first. Safe
    to repeat: the same call brings the same clip, and nothing is paid again. Works in a script, in
    a notebook, in a synchronous flow (as its sub-flow), and without a Prefect server: Prefect then
    starts a temporary one, which takes some seconds and keeps no record of the run.

    Args:
        request: A prompt, or a whole request.
        credentials: A block, or the name of one. Unless given: see below.
        archive: A block, or the name of one. Unless given: see below.
        take: Raise it to have the same request made, and paid, once more.
        spending: How much the clip may cost.
        parameters: With a prompt, any other field of `VideoRequest`, such as `duration=5`,
            `aspect_ratio="9:16"` or `sound="on"`. The model is kling-v3-omni unless one is named.

    What is not given comes from the blocks named `default` of the Prefect server in use. Where
    there is no server or no such block, it comes from the environment: `APIMODELS_API_KEY`,
    `KLING_BUCKET` and the usual AWS variables. Both come from the same place.

    Raises what `generate_clip` raises, and `BlockMissing`.
    """
    order = _request(request, parameters)

    async def make() -> Clip:
        access, place = await _blocks(credentials, archive)
        run_logger().info(
            "%s: $%s at %s, kept in %s",
            order.headline,
            quote(order).usd,
            host_of(access.base_url),
            place.get_archive().bucket.uri(""),
        )
        clip: Clip = await generate_clip(order, access, place, take=take, spending=spending)
        return clip

    with _patient_server():
        return run_sync(make)


def run_sync(make: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine to its end from synchronous code, also where an event loop runs already.

    There, as in a notebook, it runs in a thread of its own; an interruption cancels it.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(make())
    with start_blocking_portal() as portal:
        made: T = portal.call(make)
    return made


def _request(request: VideoRequest | str, parameters: dict[str, Any]) -> VideoRequest:
    if isinstance(request, str):
        fields = {"model": MODEL, "prompt": request} | parameters
        return VideoRequest.model_validate(fields)
    if parameters:
        names = ", ".join(parameters)
        raise TypeError(f"a whole request was given: put {names} into it")
    return request


async def _blocks(
    credentials: KlingCredentials | str | None, archive: KlingArchive | str | None
) -> tuple[KlingCredentials, KlingArchive]:
    """Return both blocks; what is not given comes from one place, never from two."""
    if isinstance(credentials, str):
        credentials = await load_block(KlingCredentials, credentials)
    if isinstance(archive, str):
        archive = await load_block(KlingArchive, archive)
    if credentials is not None and archive is not None:
        return credentials, archive

    is_served = bool(PREFECT_API_URL.value()) or not is_complete()
    if is_served:
        try:
            stored_credentials = await load_block(KlingCredentials, "default")
            stored_archive = await load_block(KlingArchive, "default")
        except BlockMissing:
            pass
        else:
            return credentials or stored_credentials, archive or stored_archive
    return (
        credentials or credentials_from_environment(),
        archive or archive_from_environment(),
    )


@contextmanager
def _patient_server() -> Iterator[None]:
    """Give Prefect's temporary server, which runs where none is named, time to start."""
    if PREFECT_API_URL.value():
        yield
        return
    patience = {PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS: EPHEMERAL_START_SECONDS}
    with temporary_settings(updates=patience):
        yield
