"""A film in the Prefect UI: one page that follows its shots, and in the end describes the film."""

import asyncio
import base64
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

from prefect.context import FlowRunContext
from prefect.exceptions import Pause

from prefect_kling.blocks import KlingArchive
from prefect_kling.studio.film.assembly import Film
from prefect_kling.studio.film.quote import FilmQuote, quote_film
from prefect_kling.studio.media.contact_sheet import shrink
from prefect_kling.studio.money.archive import Clip
from prefect_kling.studio.money.ledger import NOTHING
from prefect_kling.studio.storage.concurrency import in_thread
from prefect_kling.telemetry.clip_page import CLIP_HEADINGS, addresses, clip_cells, marked
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
from prefect_kling.telemetry.posters import WatchCells
from prefect_kling.telemetry.progress import ProgressLog, ShotProgress, Stage
from prefect_kling.telemetry.unfinished_film import UnfinishedFilm, end_page, paid_for

# The UI does not ask for changes more often.
WRITE_INTERVAL_SECONDS = 1.0


class FilmPage:
    """A film's artifact under its flow run; its description says how far the film is.

    It is written at most once per change and second. It is only a view: an error in writing it is
    logged and does not stop the run. `key` names the artifact, for the page of a part of a film.
    """

    def __init__(self, quote: FilmQuote, archive: KlingArchive, key: str = "") -> None:
        self.quote = quote
        self.log = ProgressLog()
        for clip in quote.plan.clips:
            self.log.record(ShotProgress(shot=clip.name, stage=Stage.WAITING))
        self.archive = archive
        self._key = key or quote.plan.slug
        self._made: dict[str, Clip] = {}
        self._began_at = _began_at()
        self._watch = WatchCells(archive)
        self._changed = asyncio.Event()
        self._artifact_id: UUID | None = None

    def show(self, progress: ShotProgress) -> None:
        """Show the progress of a shot with the next write."""
        self.log.record(progress)
        clip = progress.clip
        # A run that was suspended finds in the archive what it has made before.
        if clip is not None and (not progress.reused or clip.archived_at >= self._began_at):
            self._made[clip.clip_key] = clip
        self._changed.set()

    @asynccontextmanager
    async def kept_current(self) -> AsyncIterator[None]:
        """Write the shots whenever they change, until the block ends, and once more after it.

        When the block raises, the page says that the film has failed, or was interrupted. A run
        that is suspended has done neither.
        """
        writing = asyncio.create_task(self._write_changes())
        stopped = None
        try:
            yield
        except Pause:
            raise
        except BaseException as error:
            stopped = error
            raise
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            if stopped is None:
                await self._write_shots()
            else:
                await self._write_end(stopped)

    async def show_film(self, film: Film) -> None:
        """Turn the page into the finished film's: contact sheet, links, and every clip.

        Each clip has its picture, its job, its price and its address.
        """
        with log_view_errors():
            told = self.quote.plan.told_of_open_picks
            content = await _film_page(film, self.archive, self._watch, told, self.paid_usd)
            await self.write(content, _film_description(film))

    async def show_clips(self, clips: Mapping[str, Clip]) -> None:
        """Turn the page into that of finished clips, given by key."""
        plan = self.quote.plan
        made = [clips[planned.clip_key] for planned in plan.clips]
        with log_view_errors():
            cells = await self._watch.of([clip.uri for clip in made])
            rows = []
            named = []
            for planned, clip, cell in zip(plan.clips, made, cells, strict=True):
                rows.append([cell, planned.name, *clip_cells(clip)])
                named.append((planned.name, clip))
            usd = sum((clip.usd for clip in clips.values()), NOTHING)
            summary = Markdown("**All {} clips are archived, worth ${}.**").format(len(rows), usd)
            headings = ("watch", "shot", *CLIP_HEADINGS)
            description = f"{plan.title}: {len(rows)} clips, ${usd}"
            lines = [summary, Markdown(), *table(headings, rows), *addresses(named)]
            await self.write(page(lines), description)

    @property
    def paid_usd(self) -> Decimal:
        """What this run has paid for the clips that it has made so far."""
        return paid_for(self._made, self.quote)

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
            await self.write(await self._shots_page(), description)

    async def _shots_page(self) -> Markdown:
        """Return the page of a film that is being made."""
        summary = Markdown("**{} of {} clips are archived.** This run may pay ${} at most.")
        done = self.log.count(Stage.DONE)
        lines = [summary.format(done, len(self.log), self.quote.at_most_usd), Markdown()]
        return page([*lines, *await self.shots_table()])

    async def _write_end(self, error: BaseException) -> None:
        """Turn the page into that of a film which this run has not finished, and say why."""
        ended = "failed"
        if isinstance(error, asyncio.CancelledError) or not isinstance(error, Exception):
            ended = "interrupted"
        done = self.log.count(Stage.DONE)
        total = len(self.log)
        plan = self.quote.plan
        with log_view_errors():
            watch = await self._watch_by_shot()
            left = await quote_film(plan, self.archive.get_archive())
            content = end_page(
                ended, error, UnfinishedFilm(self.quote, left, self.log, self._made), watch
            )
            await self.write(content, f"{plan.title}: {ended}, {done} of {total} clips are there")

    async def shots_table(self) -> list[Markdown]:
        """Return the lines of a table of how far each shot is, and of where finished clips are."""
        watch = await self._watch_by_shot()
        rows = []
        for progress in self.log:
            took = ""
            seconds = self.log.seconds(progress.shot)
            if progress.stage.is_final and seconds is not None:
                took = f"{seconds:.0f} s"
            price = ""
            if progress.usd is not None:
                price = f"${progress.usd}"
            cell = watch.get(progress.shot, Markdown())
            state = progress.stage.value
            rows.append([cell, progress.shot, state, took, price, _note(progress)])
        shots = table(("watch", "shot", "state", "took", "price", "note"), rows)
        finished = [(each.shot, each.clip) for each in self.log if each.clip is not None]
        return [*shots, *addresses(finished)]

    async def _watch_by_shot(self) -> dict[str, Markdown]:
        """Return what to show of each shot whose clip is archived."""
        uris = {each.shot: each.clip.uri for each in self.log if each.clip is not None}
        cells = await self._watch.of(list(uris.values()))
        return dict(zip(uris, cells, strict=True))

    async def write(self, content: Markdown, description: str) -> None:
        """Show a page in place of the one before. Raises what Prefect raises."""
        if self._artifact_id is None:
            self._artifact_id = await write_page(self._key, content, description)
        else:
            await update_page(self._artifact_id, content, description)


async def write_film_page(film: Film, archive: KlingArchive, told: str = "") -> None:
    """Write the page of a film that was joined by a run which did not wait for its clips.

    `told` is what is to be said of it besides.
    """
    with log_view_errors():
        content = await _film_page(film, archive, WatchCells(archive), told)
        await write_page(film.slug, content, _film_description(film))


def _note(progress: ShotProgress) -> str:
    """Return what is to be said about a shot beside how far it is."""
    if progress.clip is None:
        return progress.detail
    told = ""
    if progress.reused:
        told = progress.detail or "was there"
    return marked(progress.clip.suspect, told)


async def _film_page(
    film: Film,
    archive: KlingArchive,
    watch: WatchCells,
    told: str,
    paid_usd: Decimal | None = None,
) -> Markdown:
    """Return the page of a finished film.

    `told` is what is to be said of it besides. `paid_usd` is what the run paid that made its clips.
    """
    bucket = archive.get_archive().bucket
    stored = await in_thread(bucket.read, bucket.path_of(film.contact_sheet_uri))
    shots = sum(len(each.chapters) for each in film.clips)
    paid = Markdown()
    if paid_usd is not None:
        paid = Markdown("; this run paid ${}").format(paid_usd)
    summary = Markdown("**{:.2f} s, {} shots, worth ${}{}.**")
    lines = [summary.format(film.seconds, shots, film.usd, paid), Markdown()]
    if told:
        lines += [escape(told), Markdown()]
    link = await in_thread(archive.watch_link, film.uri)
    # Link and picture are our own: a signed link of the archive, and the sheet's bytes.
    if link is not None:
        lines += [Markdown(f"[Watch the film]({link})"), Markdown()]
    if stored is not None:
        lines += [Markdown(f"![Contact sheet]({_data_uri(shrink(stored.body))})"), Markdown()]
    lines += [
        Markdown("- film: {}").format(code(film.uri)),
        Markdown("- contact sheet: {}").format(code(film.contact_sheet_uri)),
        Markdown("- manifest: {}").format(code(film.manifest_uri)),
        Markdown(),
    ]
    cells = await watch.of([each.clip.uri for each in film.clips])
    rows = []
    for each, cell in zip(film.clips, cells, strict=True):
        times = (f"{each.begins_at:.2f} s", f"{each.seconds:.2f} s")
        rows.append([cell, each.name, *times, *clip_cells(each.clip)])
    lines += table(("watch", "shot", "begins at", "lasts", *CLIP_HEADINGS), rows)
    lines += addresses((each.name, each.clip) for each in film.clips)
    return page(lines)


def _film_description(film: Film) -> str:
    return f"{film.title}: {film.seconds:.1f} s, ${film.usd}"


def _began_at() -> datetime:
    """Return when the run began, however often it was suspended since."""
    context = FlowRunContext.get()
    if context is not None and context.flow_run is not None and context.flow_run.start_time:
        return context.flow_run.start_time
    return datetime.now(UTC)


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
    if quote.retakes_usd:
        told = Markdown("- further takes of suspect clips are in that: ${} at most")
        lines.append(told.format(quote.retakes_usd))
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
