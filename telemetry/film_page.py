"""A film in the Prefect UI: one page that follows its shots, and in the end describes the film."""

import asyncio
import base64
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from uuid import UUID

from prefect.context import FlowRunContext

from prefect_kling.blocks import KlingArchive
from prefect_kling.studio.film.assembly import Film, FilmClip
from prefect_kling.studio.film.quote import FilmQuote
from prefect_kling.studio.media.contact_sheet import shrink
from prefect_kling.studio.money.archive import Clip
from prefect_kling.studio.money.ledger import NOTHING
from prefect_kling.studio.money.standing import Standing
from prefect_kling.studio.storage.concurrency import in_thread
from prefect_kling.telemetry.markdown import (
    Markdown,
    bullets,
    code,
    escape,
    log_view_errors,
    page,
    table,
    update_page,
    write_page,
)
from prefect_kling.telemetry.progress import ProgressLog, ShotProgress, Stage

# The UI does not ask for changes more often.
WRITE_INTERVAL_SECONDS = 1.0


class FilmPage:
    """A film's artifact under its flow run; its description says how far the film is.

    It is written at most once per change and second. It is only a view: an error in writing it is
    logged and does not stop the run.
    """

    def __init__(self, quote: FilmQuote) -> None:
        self.quote = quote
        self.log = ProgressLog()
        for clip in quote.plan.clips:
            self.log.record(ShotProgress(shot=clip.name, stage=Stage.WAITING))
        self._changed = asyncio.Event()
        self._artifact_id: UUID | None = None

    def show(self, progress: ShotProgress) -> None:
        """Show the progress of a shot with the next write."""
        self.log.record(progress)
        self._changed.set()

    @asynccontextmanager
    async def kept_current(self) -> AsyncIterator[None]:
        """Write the shots whenever they change, until the block ends, and once more after it."""
        writing = asyncio.create_task(self._write_changes())
        try:
            yield
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            await self._write_shots()

    async def show_film(self, film: Film, clips: Mapping[str, Clip], archive: KlingArchive) -> None:
        """Turn the page into the finished film's: contact sheet, links, and every clip.

        Each clip has its job, its price and its address. `clips` are all that were made, by key.
        """
        bucket = archive.get_archive().bucket
        with log_view_errors():
            path = bucket.path_of(film.contact_sheet_uri)
            stored = await in_thread(bucket.read, path)
            sheet = ""
            if stored is not None:
                sheet = _data_uri(shrink(stored.body))
            link = await in_thread(archive.watch_link, film.uri)
            description = f"{film.title}: {film.seconds:.1f} s, ${film.usd}"
            content = _film_page(film, self.quote, clips, sheet, link)
            await self.write(content, description)

    async def _write_changes(self) -> None:
        while True:
            await self._write_shots()
            await asyncio.sleep(WRITE_INTERVAL_SECONDS)
            await self._changed.wait()

    async def _write_shots(self) -> None:
        self._changed.clear()
        done = self.log.count(Stage.DONE)
        description = f"{self.quote.plan.title}: {done} of {len(self.log)} clips"
        with log_view_errors():
            await self.write(shots_page(self.quote, self.log), description)

    async def write(self, content: Markdown, description: str) -> None:
        """Show a page in place of the one before. Raises what Prefect raises."""
        if self._artifact_id is None:
            self._artifact_id = await write_page(self.quote.plan.slug, content, description)
        else:
            await update_page(self._artifact_id, content, description)


def shots_page(quote: FilmQuote, log: ProgressLog) -> Markdown:
    """Return the page of a film that is being made."""
    summary = Markdown("**{} of {} clips are archived.** This run may pay ${} at most.")
    lines = [summary.format(log.count(Stage.DONE), len(log), quote.at_most_usd)]
    return page([*lines, Markdown(), *shots_table(log)])


def shots_table(log: ProgressLog) -> list[Markdown]:
    """Return the lines of a table of how far each shot is."""
    rows = []
    for progress in log:
        took = ""
        seconds = log.seconds(progress.shot)
        if progress.stage.is_final and seconds is not None:
            took = f"{seconds:.0f} s"
        price = ""
        if progress.usd is not None:
            price = f"${progress.usd}"
        rows.append([progress.shot, progress.stage.value, took, price, _where(progress)])
    return table(("shot", "state", "took", "price", "where"), rows)


def _where(progress: ShotProgress) -> str:
    """Return where a shot's clip is, or what else is to be said about the shot."""
    if progress.clip is None:
        return progress.detail
    where = Markdown("{}")
    if progress.reused:
        where = Markdown("{} (was there)")
    return where.format(code(progress.clip.uri))


def _film_page(
    film: Film, quote: FilmQuote, clips: Mapping[str, Clip], sheet: str, link: str | None
) -> Markdown:
    """Return the page of a finished film. `sheet` is the address of its contact sheet."""
    shots = sum(len(each.chapters) for each in film.clips)
    paid = _paid_by_this_run(clips, quote)
    summary = Markdown("**{:.2f} s, {} shots, worth ${}; this run paid ${}.**")
    lines = [summary.format(film.seconds, shots, film.usd, paid), Markdown()]
    if quote.plan.open_picks:
        lines += [escape(quote.plan.told_of_open_picks), Markdown()]
    if link is not None:
        # Link and picture are our own: a signed link of the archive, and the sheet's bytes.
        lines += [Markdown(f"[Watch the film]({link})"), Markdown()]
    lines += [
        Markdown(f"![Contact sheet]({sheet})"),
        Markdown(),
        Markdown("- film: {}").format(code(film.uri)),
        Markdown("- contact sheet: {}").format(code(film.contact_sheet_uri)),
        Markdown("- manifest: {}").format(code(film.manifest_uri)),
        Markdown(),
    ]

    headings = ["shot", "begins at", "lasts", "price", "job", "clip"]
    has_notes = any(each.clip.notes for each in film.clips)
    if has_notes:
        headings.insert(4, "differs from the order")
    rows = []
    for each in film.clips:
        row = _film_row(each)
        if has_notes:
            row.insert(4, "; ".join(each.clip.notes))
        rows.append(row)
    lines += table(headings, rows)
    return page(lines)


def _film_row(each: FilmClip) -> list[str]:
    return [
        each.name,
        f"{each.begins_at:.2f} s",
        f"{each.seconds:.2f} s",
        f"${each.clip.usd}",
        code(each.clip.job_id),
        code(each.clip.uri),
    ]


def _paid_by_this_run(clips: Mapping[str, Clip], quote: FilmQuote) -> Decimal:
    """Return the sum of the clips that were not archived when the run began, or went on."""
    began_at = None
    context = FlowRunContext.get()
    if context is not None and context.flow_run is not None:
        began_at = context.flow_run.start_time
    paid = NOTHING
    for key, clip in clips.items():
        # A run that was suspended finds in the archive what it has paid before.
        is_of_this_run = began_at is not None and clip.archived_at >= began_at
        if is_of_this_run or quote.standings[key] is not Standing.ARCHIVED:
            paid += clip.usd
    return paid


def quote_page(quote: FilmQuote, pictures: Sequence[Markdown] = ()) -> Markdown:
    """Return what a film will cost as a page: the sum, the notes of its plan, and every clip.

    `pictures` has those of each clip, in their order; without it there is no such column.
    """
    plan = quote.plan
    worst_case = ""
    if quote.at_most_usd != quote.usd:
        worst_case = f" (at most ${quote.at_most_usd})"
    has_pictures = any(pictures)
    rows = []
    for number, clip in enumerate(plan.clips):
        row = [
            clip.name,
            clip.order.request.spoken_prompt,
            f"{clip.seconds:g} s",
            f"${clip.price.usd}",
            quote.standings[clip.clip_key].value,
        ]
        if has_pictures:
            row.insert(2, pictures[number])
        rows.append(row)

    whole = "the whole film is"
    if plan.has_versions:
        whole = f"all {len(plan.versions)} versions are"
    summary = Markdown("**{}: ${} are to be paid{}**, {} worth ${}.")
    lines = [summary.format(plan.title, quote.usd, worst_case, whole, plan.usd), Markdown()]
    lines += _versions(quote)
    lines += bullets(plan.notes)
    lines += bullets(quote.obstacles, "- **cannot be made**: {}")
    headings = ["shot", "prompt", "lasts", "price", "now"]
    if has_pictures:
        headings.insert(2, "pictures")
    lines += [Markdown(), *table(headings, rows)]
    return page(lines)


def _versions(quote: FilmQuote) -> list[Markdown]:
    """Return a table of what each version adds; nothing for a single film."""
    if not quote.plan.has_versions:
        return []
    rows = []
    for cost in quote.by_version:
        counts = [f"{cost.seconds:g} s", str(cost.clips), str(cost.shared)]
        rows.append([cost.version, *counts, f"${cost.usd}"])
    headings = ("version", "lasts", "clips", "shared with those above", "adds to the price")
    return [*table(headings, rows), Markdown()]


def _data_uri(picture: bytes) -> str:
    # Inside the page, the picture needs no access to the bucket and no link that expires.
    return f"data:image/jpeg;base64,{base64.b64encode(picture).decode()}"
