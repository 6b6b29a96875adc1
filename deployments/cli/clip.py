"""`prefect-kling clip`: one clip from a prompt."""

import asyncio
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from rich.console import Console

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.blocks.load import load_block
from prefect_kling.deployments.cli.chosen_blocks import Blocks
from prefect_kling.deployments.cli.documents import ClipMade, ClipQuoted
from prefect_kling.deployments.cli.links import say_link
from prefect_kling.deployments.cli.live_table import LiveTable
from prefect_kling.deployments.cli.paid import RAISE_LIMIT, require_yes, told_paid
from prefect_kling.deployments.cli.signals import run
from prefect_kling.deployments.cli.terminal import AsJson, Styled, facts, print_json, say
from prefect_kling.flows import generate_clip
from prefect_kling.kling.prices import Quote
from prefect_kling.kling.prices import quote as price_of
from prefect_kling.kling.request import VideoRequest
from prefect_kling.runs.spending import Spending
from prefect_kling.studio.money.archive import Clip
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.studio.money.standing import Standing, standing_of
from prefect_kling.studio.storage.concurrency import in_thread
from prefect_kling.telemetry.progress import subscribe


@dataclass(frozen=True)
class _Made:
    clip: Clip
    watch_url: str | None
    paid_usd: Decimal


@dataclass(frozen=True)
class Look:
    """How a clip is to look. What is left out is as the model has it."""

    model: str = "kling-v3-omni"
    """The model."""
    duration: int = 5
    """Length in whole seconds: 3 to 15. Each is paid for."""
    aspect_ratio: Literal["16:9", "9:16", "1:1"] = "16:9"
    """Shape of the picture. A first frame decides it instead."""
    mode: Literal["std", "pro"] = "std"
    """std is 720p, pro is 1080p and costs a third more."""
    sound: Annotated[bool, Parameter(negative="")] = False
    """Let the model make sound; costs half as much again."""
    first_frame: str | None = None
    """Link to a picture the clip begins with."""
    end_frame: str | None = None
    """Link to a picture the clip ends with; needs a first frame."""
    reference: Annotated[list[str] | None, Parameter(negative="")] = None
    """Link to a picture that the prompt calls `<<<image_1>>>`; may be said several times."""

    def request(self, prompt: str) -> VideoRequest:
        """Return the request. Raises pydantic's `ValidationError`."""
        images: list[dict[str, Any]] = [{"image_url": link} for link in self.reference or ()]
        for kind, frame in (("first_frame", self.first_frame), ("end_frame", self.end_frame)):
            if frame is not None:
                images.append({"image_url": frame, "type": kind})
        fields = {
            "model": self.model,
            "prompt": prompt,
            "duration": self.duration,
            "aspect_ratio": self.aspect_ratio,
            "mode": self.mode,
            "sound": "on" if self.sound else "off",
            "image_list": images,
        }
        return VideoRequest.model_validate(fields)


def clip(
    prompt: str,
    *,
    look: Annotated[Look, Parameter(name="*")] = Look(),
    take: int = 1,
    blocks: Annotated[Blocks, Parameter(name="*")] = Blocks(),
    budget_usd: Decimal | None = None,
    approve_above_usd: Decimal | None = None,
    tag: Annotated[list[str] | None, Parameter(negative="")] = None,
    to: Path | None = None,
    quote: Annotated[bool, Parameter(negative="")] = False,
    as_json: AsJson = False,
) -> None:
    """Make one clip from a prompt.

    Costs money unless it is archived already; the price is told first. Safe to repeat:
    the same words bring the same clip, and nothing is paid again.

    Args:
        prompt: What happens: subject, movement, place, light, camera.
        look: How the clip is to look.
        take: Raise it to have the same clip made, and paid, once more.
        blocks: The blocks to use.
        budget_usd: The most the clip may cost in US dollars, earlier runs included.
        approve_above_usd: Ask before sending anything when more than this is to be paid.
        tag: Who pays, as in `--tag project=spring`; may be said several times.
        to: A file on this machine that gets a copy of the video.
        quote: Only tell the price, and whether the clip exists already. Free.
        as_json: Print JSON.
    """
    order = ClipOrder(request=look.request(prompt), take=take)
    price = price_of(order.request)
    spending = Spending.model_validate({"budget_usd": budget_usd, "tags": tag or []})
    told = facts(as_json=as_json)
    if quote:
        standing = asyncio.run(_standing(order, blocks))
        if as_json:
            print_json(ClipQuoted.of_order(order, price, standing))
            return
        _tell_price(order, price, standing, told)
        return

    made = run(_make(order, price, spending, approve_above_usd, blocks, told))
    if to is not None:
        _copy(made.clip, blocks, to)
    if as_json:
        print_json(ClipMade.of(made.clip, made.watch_url, made.paid_usd))
        return
    say(made.clip.uri)
    say_link("watch it", made.watch_url)
    if to is not None:
        say(f"  {to}")
    for note in made.clip.notes:
        say(Styled("  note ", "yellow"), note)
    say(told_paid(made.paid_usd))


async def _standing(order: ClipOrder, blocks: Blocks) -> Standing:
    archive = await load_block(KlingArchive, blocks.archive)
    return await in_thread(standing_of, order.clip_key, archive.get_archive().ledger)


def _tell_price(order: ClipOrder, price: Quote, standing: Standing, to: Console) -> None:
    request = order.request
    at_most = ""
    if price.at_most_usd != price.usd:
        at_most = f", at most ${price.at_most_usd}"
    say(
        Styled(request.headline, "bold"),
        f": {price.seconds} s of {request.model}, {request.mode}: ${price.usd}{at_most}; "
        f"{standing.value}",
        to=to,
    )


async def _make(
    order: ClipOrder,
    price: Quote,
    spending: Spending,
    approve_above_usd: Decimal | None,
    blocks: Blocks,
    to: Console,
) -> _Made:
    credentials = await load_block(KlingCredentials, blocks.credentials)
    archive = await load_block(KlingArchive, blocks.archive)
    standing = await in_thread(standing_of, order.clip_key, archive.get_archive().ledger)
    _tell_price(order, price, standing, to)
    is_to_be_asked = approve_above_usd is not None and price.at_most_usd > approve_above_usd
    if standing is Standing.TO_PAY and is_to_be_asked:
        require_yes("Make it?", RAISE_LIMIT, to)

    with LiveTable(to).on_screen() as table, subscribe(table.show):
        table.name("clip", order.request.headline)
        made = await generate_clip(
            order.request, credentials, archive, take=order.take, spending=spending
        )
    return _Made(made, archive.watch_link(made.uri), table.paid_usd)


def _copy(clip: Clip, blocks: Blocks, target: Path) -> None:
    archive = asyncio.run(load_block(KlingArchive, blocks.archive)).get_archive()
    with target.open("w+b") as file:
        archive.copy_out(clip, file)
