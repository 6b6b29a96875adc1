"""What a film looks like in the Prefect UI: one page that follows its shots and ends as the film's own."""

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from prefect.artifacts import acreate_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactUpdate

from prefect_kling.blocks import KlingArchive
from prefect_kling.studio.film.assembly import Film, FilmClip
from prefect_kling.studio.film.quote import FilmQuote, Standing
from prefect_kling.studio.media.contact_sheet import shrink
from prefect_kling.studio.money.ledger import NOTHING
from prefect_kling.studio.storage.bucket import in_thread
from prefect_kling.telemetry.markdown import cell, only_a_view, table
from prefect_kling.telemetry.progress import ShotNews, Stage, watching

PAUSE_SECONDS = 1.0
"""The least time between two writes: the UI does not ask for news more often."""
_ENDED = (Stage.DONE, Stage.FAILED, Stage.INTERRUPTED)


class FilmPage:
    """A film's page under its flow run; its description tells how far the film is, and is what lists of pages show.

    At most one write per change and second. It is only a view: trouble with it is logged, and stops nothing.
    """

    def __init__(self, quote: FilmQuote) -> None:
        self._quote, self._title, self._slug = quote, quote.plan.title, quote.plan.slug
        self._news = {
            clip.name: ShotNews(shot=clip.name, stage=Stage.WAITING) for clip in quote.plan.clips
        }
        self._began: dict[str, float] = {}
        self._took: dict[str, float] = {}
        self._changed = asyncio.Event()
        self._page: UUID | None = None

    @asynccontextmanager
    async def kept_up(self) -> AsyncIterator[None]:
        """Show the shots until the block ends, and then how it ended."""
        writing = asyncio.create_task(self._keep_writing())
        try:
            with watching(self._show):
                yield
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            await self._write_shots()

    async def finish(self, film: Film, archive: KlingArchive) -> None:
        """Turn the page into the finished film's: picture, links, and every shot with its job, price and address."""
        studio = archive.get_archive()
        with only_a_view():
            path = film.contact_sheet_uri.removeprefix(studio.bucket.uri(""))
            stored = await in_thread(studio.bucket.read, path)
            sheet = _data_uri(shrink(stored.body)) if stored else ""
            link = await in_thread(archive.watch_link, film.uri)
            told = f"{film.title}: {film.seconds:.1f} s, ${film.usd}"
            await self._write(_film_page(film, self._quote, sheet, link), told)

    def _show(self, news: ShotNews) -> None:
        if news.shot not in self._news:
            return
        now = time.monotonic()
        if news.stage is Stage.SUBMITTING:
            self._began.setdefault(news.shot, now)
        if news.stage in _ENDED and news.shot in self._began:
            self._took[news.shot] = now - self._began[news.shot]
        self._news[news.shot] = news
        self._changed.set()

    async def _keep_writing(self) -> None:
        while True:
            await self._write_shots()
            await asyncio.sleep(PAUSE_SECONDS)
            await self._changed.wait()

    async def _write_shots(self) -> None:
        self._changed.clear()
        ended = sum(news.stage is Stage.DONE for news in self._news.values())
        with only_a_view():
            await self._write(
                self._shots_page(ended), f"{self._title}: {ended} of {len(self._news)} clips"
            )

    async def _write(self, page: str, told: str) -> None:
        if self._page is None:
            made = await acreate_markdown_artifact(key=self._slug, markdown=page, description=told)
            self._page = UUID(str(made))
        else:
            async with get_client() as api:
                await api.update_artifact(self._page, ArtifactUpdate(data=page, description=told))

    def _shots_page(self, ended: int) -> str:
        quote = self._quote
        rows = [
            [cell(name), news.stage.value, self._duration(name), _usd(news), _where(news)]
            for name, news in self._news.items()
        ]
        return "\n".join(
            [
                f"**{ended} of {len(rows)} clips are archived.** This run may pay ${quote.at_most_usd} at most.",
                "",
                *table(("shot", "state", "took", "price", "where"), rows),
            ]
        )

    def _duration(self, name: str) -> str:
        return f"{self._took[name]:.0f} s" if name in self._took else ""


def _film_page(film: Film, quote: FilmQuote, sheet: str, link: str | None) -> str:
    paid = {key for key, standing in quote.standings.items() if standing is not Standing.ARCHIVED}
    bill = {each.clip.clip_key: each.clip.usd for each in film.clips} | {
        each.clip_key: each.usd for each in film.unshown
    }
    now = sum((usd for key, usd in bill.items() if key in paid), NOTHING)
    differ = any(each.clip.notes for each in film.clips)
    headings = [
        "shot",
        "begins at",
        "lasts",
        "price",
        *(["differs from the order"] if differ else []),
        "job",
        "clip",
    ]
    shots = sum(len(each.chapters) for each in film.clips)
    return "\n".join(
        [
            f"**{film.seconds:.2f} s, {shots} shots, worth ${film.usd}; this run paid ${now}.**",
            *(["", f"[Watch the film]({link})"] if link else []),
            "",
            f"![Contact sheet]({sheet})",
            "",
            f"- film: `{film.uri}`",
            f"- contact sheet: `{film.contact_sheet_uri}`",
            f"- manifest: `{film.manifest_uri}`",
            "",
            *table(headings, [_film_row(each, differ=differ) for each in film.clips]),
        ]
    )


def _film_row(each: FilmClip, *, differ: bool) -> list[str]:
    clip = each.clip
    facts = [cell(each.name), f"{each.begins_at:.2f} s", f"{each.seconds:.2f} s", f"${clip.usd}"]
    return [
        *facts,
        *([cell("; ".join(clip.notes))] if differ else []),
        f"`{clip.job_id}`",
        f"`{clip.uri}`",
    ]


def quote_page(quote: FilmQuote) -> str:
    """Return what a film will cost as a page: the sum, what should be known, and every clip."""
    plan = quote.plan
    rows = [
        [
            cell(clip.name),
            f"{clip.seconds:g} s",
            f"${clip.price.usd}",
            quote.standings[clip.clip_key].value,
        ]
        for clip in plan.clips
    ]
    worst = f" (at most ${quote.at_most_usd})" if quote.at_most_usd != quote.usd else ""
    return "\n".join(
        [
            f"**{plan.title}: ${quote.usd} are to be paid{worst}**, the whole film is worth ${plan.usd}.",
            "",
            *(f"- {cell(note)}" for note in plan.notes),
            "",
            *table(("shot", "lasts", "price", "now"), rows),
        ]
    )


def _usd(news: ShotNews) -> str:
    return "" if news.usd is None else f"${news.usd}"


def _where(news: ShotNews) -> str:
    where = f"`{news.clip.uri}`" if news.clip else cell(news.words)
    return f"{where} (was there)" if news.reused else where


def _data_uri(picture: bytes) -> str:
    # Inside the page, the picture needs no access to the bucket and no link that expires.
    return f"data:image/jpeg;base64,{base64.b64encode(picture).decode()}"
