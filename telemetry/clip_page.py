"""A clip in the Prefect UI: to be watched, with what it cost and what is odd about it."""

from collections.abc import Iterable

from prefect_kling.blocks import KlingArchive
from prefect_kling.studio.money.archive import Clip
from prefect_kling.telemetry.markdown import (
    Markdown,
    bullets,
    code,
    log_view_errors,
    page,
    write_page,
)
from prefect_kling.telemetry.posters import WatchCells

CLIP_HEADINGS = ("price", "differs from the order")


def clip_cells(clip: Clip) -> list[str]:
    """Return a clip in words: its price, and what is odd or suspicious about it."""
    notes = marked(clip.suspect, "; ".join(clip.notes))
    return [f"${clip.usd}", notes]


def addresses(named: Iterable[tuple[str, Clip]]) -> list[Markdown]:
    """Return the lines of a list of where clips are, and which jobs made them.

    It stands below a table: such long words in it would leave no room for the pictures.
    """
    lines = [Markdown()]
    for name, clip in named:
        told = Markdown("- {}: {}, job {}")
        lines.append(told.format(name, code(clip.uri), code(clip.job_id)))
    return lines


def marked(suspect: str, text: str) -> str:
    """Return a text behind the rules that a clip breaks; without such rules, the text."""
    if not suspect:
        return text
    return Markdown("**suspect: {}** {}").format(suspect, text)


async def write_clip_page(clip: Clip, archive: KlingArchive) -> None:
    """Write the page of a single clip as an artifact of its run.

    It is only a view: an error in writing it is logged and does not stop the run.
    """
    with log_view_errors():
        (cell,) = await WatchCells(archive).of([clip.uri])
        media = clip.media
        request = clip.order.request
        shape = Markdown("{}x{}, {:.2f} s").format(media.width, media.height, media.seconds)
        lines = [
            Markdown("**{}: ${}**").format(request.headline, clip.usd),
            Markdown(),
            cell,
            Markdown(),
            Markdown("- prompt: {}").format(request.prompt or request.headline),
            Markdown("- model: {}").format(request.model),
            Markdown("- picture: {}").format(shape),
            Markdown("- job: {}").format(code(clip.job_id)),
            Markdown("- clip: {}").format(code(clip.uri)),
        ]
        if clip.suspect:
            lines.append(Markdown("- **suspect: {}**").format(clip.suspect))
        lines += bullets(clip.notes)
        key = f"clip-{clip.clip_key[:8]}"
        await write_page(key, page(lines), f"{request.headline}: ${clip.usd}")
